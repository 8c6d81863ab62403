"""What others may use of the room, and nothing more by accident."""

from __future__ import annotations

import enarx_collateral


def test_the_public_names() -> None:
    assert enarx_collateral.__all__ == sorted(enarx_collateral.__all__)
    assert set(enarx_collateral.__all__) == {
        "CollateralError",
        "DamagedStore",
        "Entry",
        "Item",
        "LostBlob",
        "MissingCollateral",
        "NotFound",
        "Outcome",
        "RefusedArchive",
        "RefusedCollateral",
        "SourceError",
        "Store",
    }
    assert all(hasattr(enarx_collateral, name) for name in enarx_collateral.__all__)
