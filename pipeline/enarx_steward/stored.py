"""The store of `enarx_collateral` as the Steward's source of collateral."""

from __future__ import annotations

from datetime import datetime

import enarx_collateral
from enarx_attestation import Collateral, Evidence
from enarx_attestation.intel_quote import Quote
from enarx_attestation.x509 import RevocationList, read_crl
from enarx_collateral import DamagedStore, Store
from enarx_collateral.needs import platform_items

from .collateral import MissingCollateral, Revocation


class StoredCollateral:
    """Finds collateral in a store. What others put there is found from then on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, evidence: Evidence, at: datetime, *, revocation: Revocation) -> Collateral:
        """See `collateral.CollateralSource`."""
        try:
            return self._store.find(evidence, at, revocation=revocation)
        except enarx_collateral.MissingCollateral as exc:
            raise MissingCollateral(
                str(exc),
                hint=exc.hint,
                held=self._without_lists(evidence, at),
                lists=() if isinstance(evidence, Quote) else self._lists(),
                issues=self._issues(evidence) if isinstance(evidence, Quote) else {},
            ) from exc
        except DamagedStore as exc:
            raise MissingCollateral(str(exc), hint=exc.hint) from exc

    def _without_lists(self, evidence: Evidence, at: datetime) -> Collateral | None:
        try:
            return self._store.find(evidence, at, revocation="off")
        except (enarx_collateral.MissingCollateral, DamagedStore):
            return None

    def _lists(self) -> tuple[RevocationList, ...]:
        entries = (self._store.entry(item) for item in self._store.items("amd-crl"))
        return tuple(read_crl(self._store.read(entry)[0]) for entry in entries if entry is not None)

    def _issues(self, quote: Quote) -> dict[str, tuple[int, ...]]:
        found = {item.kind.replace("-", "_"): self._store.entry(item) for item in platform_items(quote)}
        return {kind: entry.order for kind, entry in found.items() if entry is not None}
