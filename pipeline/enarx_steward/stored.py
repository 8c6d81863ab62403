"""The store of `enarx_collateral` as the Steward's source of collateral."""

from __future__ import annotations

from datetime import datetime

import enarx_collateral
from enarx_attestation import Collateral, Evidence
from enarx_attestation.intel_quote import Quote
from enarx_attestation.x509 import RevocationList, read_crl
from enarx_collateral import DamagedStore, Item, LostBlob, Store
from enarx_collateral.needs import platform_items

from .collateral import MissingCollateral, Revocation, UnreadableStore


class StoredCollateral:
    """Finds collateral in a store. What others put there is found from then on."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def find(self, evidence: Evidence, at: datetime, *, revocation: Revocation) -> Collateral:
        """See `collateral.CollateralSource`."""
        try:
            return self.store.find(evidence, at, revocation=revocation)
        except enarx_collateral.MissingCollateral as exc:
            raise self._missing(evidence, at, exc) from exc

    def _missing(
        self, evidence: Evidence, at: datetime, missing: enarx_collateral.MissingCollateral
    ) -> MissingCollateral:
        try:
            return MissingCollateral(
                str(missing),
                hint=missing.hint,
                held=self._without_lists(evidence, at),
                lists=() if isinstance(evidence, Quote) else self._lists(),
                issues=self._issues(evidence) if isinstance(evidence, Quote) else {},
            )
        except DamagedStore as exc:
            return UnreadableStore(str(exc), hint=exc.hint)

    def _without_lists(self, evidence: Evidence, at: datetime) -> Collateral | None:
        try:
            return self.store.find(evidence, at, revocation="off")
        except enarx_collateral.MissingCollateral:
            return None

    def _lists(self) -> tuple[RevocationList, ...]:
        return tuple(read_crl(data) for item in self.store.items("amd-crl") if (data := self._data(item)) is not None)

    def _data(self, item: Item) -> bytes | None:
        for last in (False, True):
            entry = self.store.entry(item)
            try:
                return None if entry is None else self.store.read(entry)[0]
            except LostBlob:  # the item was replaced meanwhile: its entry now names what is there
                if last:
                    raise
        return None

    def _issues(self, quote: Quote) -> dict[str, tuple[int, ...]]:
        found = {item.kind.replace("-", "_"): self.store.entry(item) for item in platform_items(quote)}
        return {kind: entry.order for kind, entry in found.items() if entry is not None}
