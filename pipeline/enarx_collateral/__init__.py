"""Collateral of the vendors: a store on disk, the vendors' services, and archives for machines without a network.

collateral = Store(directory).find(evidence, at)      # MissingCollateral says what to fetch
"""

from __future__ import annotations

from .errors import (
    CollateralError,
    DamagedStore,
    LostBlob,
    MissingCollateral,
    NotFound,
    RefusedArchive,
    RefusedCollateral,
    SourceError,
)
from .item import Entry, Item
from .store import Outcome, Store

__all__ = [
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
]
