"""The Steward's own collateral, as tests give it one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass
class Store:
    """Has this collateral for whatever is asked, which must be with revocation."""

    collateral: Any

    def find(self, _evidence: Any, _at: datetime, *, revocation: str) -> Any:
        assert revocation == "require"
        return self.collateral
