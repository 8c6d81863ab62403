"""Every error that this room raises.

CollateralError
├── MissingCollateral      the store lacks what evidence needs, or what it has is stale or damaged
├── RefusedCollateral      an item cannot be verified, so that it does not enter the store
├── DamagedStore           a file of the store is not what was written, or others can write to it
│   └── LostBlob           bytes are not there any more: an item was replaced while it was read, or a file removed
├── RefusedArchive         an archive is not one that `export_archive` writes
└── SourceError            a vendor's service cannot be reached, or answers something else than was asked for
    └── NotFound           it does not have the item
"""

from __future__ import annotations


class CollateralError(Exception):
    """Head of the tree: `str(error)` is one line of what and where, `hint` one line of what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class MissingCollateral(CollateralError):
    """Evidence cannot be verified with what the store holds. `reasons` names each item, and why it cannot be used."""

    def __init__(self, reasons: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__("; ".join(reasons), hint=hint)
        self.reasons = reasons


class RefusedCollateral(CollateralError):
    """An item is malformed, or its signature does not lead to a pinned authority."""


class DamagedStore(CollateralError):
    """What is on disk cannot be used."""


class LostBlob(DamagedStore):
    """The bytes of an entry are gone; if the item was replaced meanwhile, its entry now names others."""


class RefusedArchive(CollateralError):
    """An archive is damaged, hostile, or not one of ours."""


class SourceError(CollateralError):
    """An item could not be fetched."""


class NotFound(SourceError):
    """The service says that it does not have the item."""
