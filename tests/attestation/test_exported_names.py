"""The names that others may build on are a list, and every name on it is there."""

from __future__ import annotations

import enarx_attestation


def test_exported_names() -> None:
    names = enarx_attestation.__all__
    assert len(names) == len(set(names))
    assert all(hasattr(enarx_attestation, name) for name in names)
    assert {"parse", "verify", "appraise", "Verdict", "Policy", "VENDOR_ANCHORS"} <= set(names)
