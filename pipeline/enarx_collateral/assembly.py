"""From items in a store to collateral for one piece of evidence, read and verified once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, cast

from enarx_attestation import Anchors, Collateral, Endorsements, Evidence, SnpCollateral, cca, cose, endorse, snp
from enarx_attestation.amd_products import LINES, tcb_components
from enarx_attestation.cca import CcaEvidence
from enarx_attestation.intel_collateral import compose, read_collateral
from enarx_attestation.intel_quote import Quote
from enarx_attestation.snp_report import SnpEvidence
from enarx_attestation.x509 import Certificate, RevocationList, read_certificate, read_crl, read_pem

from .cache import Cache
from .errors import DamagedStore, LostBlob, MissingCollateral
from .item import Entry, Item, command, tcb_text
from .needs import alternatives, amd_items, lines_of, platform_items, report_of, signing_key, vcek_items

MAX_CANDIDATES: Final = 64
"""Most keys that are tried on evidence which does not name its key."""
_CACHED: Final = 4096
_TRIES: Final = 3

Parsed = TypeVar("Parsed")


class Reader(Protocol):
    """What is asked of a store; see `Store`."""

    def entry(self, item: Item) -> Entry | None:
        """See `Store.entry`."""

    def items(self, *start: str) -> list[Item]:
        """See `Store.items`."""

    def read(self, entry: Entry) -> tuple[bytes, bytes]:
        """See `Store.read`."""


class Assembler:
    """Puts collateral together. What was read and verified is kept in memory by digest."""

    def __init__(self, store: Reader, anchors: Anchors) -> None:
        self._store = store
        self._anchors = anchors
        self._read: Cache[tuple[str, str], Any] = Cache(_CACHED)
        self._endorsed: Cache[tuple[str, ...], Endorsements] = Cache(_CACHED)

    def collateral(self, evidence: Evidence, at: datetime, *, lists_required: bool) -> Collateral:
        """See `Store.find`. Raises `MissingCollateral`."""
        for _ in range(_TRIES):
            try:
                return self._collateral(evidence, at, lists_required)
            except LostBlob as exc:  # the item was replaced between its entry and its blob: look again
                lost = exc
            except DamagedStore as exc:
                raise MissingCollateral((str(exc),), hint=exc.hint) from exc
        raise MissingCollateral((str(lost),), hint=command(_all(alternatives(evidence)))) from lost

    def _collateral(self, evidence: Evidence, at: datetime, lists_required: bool) -> Collateral:
        report = report_of(evidence)
        if report is not None:
            return self._amd(report, at, lists_required)
        if isinstance(evidence, Quote):
            return self._intel(evidence, at, lists_required)
        return self._cca(evidence) if isinstance(evidence, CcaEvidence) else Collateral()

    def _amd(self, report: SnpEvidence, at: datetime, lists_required: bool) -> SnpCollateral:
        key = self._vlek(report, at) if signing_key(report) == "VLEK" else self._vcek(report, at)
        line, role = key.item.key[0], key.item.kind
        chain, own_list = (self._store.entry(item) for item in amd_items(line, role))
        # AMD publishes the root's list at two addresses; a revocation that either has told of counts.
        other_list = self._store.entry(Item("amd-crl", (line, "vlek" if role == "vcek" else "vcek")))
        lists = [entry for entry in (own_list, other_list) if entry is not None]
        if lists_required and not any(entry.current_at(at) for entry in lists):
            item = Item("amd-crl", (line, role))
            raise MissingCollateral((_fault(item, own_list, at),), hint=command([item]))
        return SnpCollateral(
            vek=self._certificate(key),
            chain=() if chain is None else self._chain(chain),
            crls=tuple(self._list(entry) for entry in lists),
        )

    def _vcek(self, report: SnpEvidence, at: datetime) -> Entry:
        if not signing_key(report):
            raise MissingCollateral(("no key signed the report, so that nothing can endorse it",))
        items = vcek_items(report)
        found = [entry for entry in map(self._store.entry, items) if entry is not None]
        current = [entry for entry in found if entry.current_at(at)]
        if current:
            return current[0]
        if not items:
            why = "the host masks the chip's identity, by which its VCEK would be found"
            raise MissingCollateral((why,), hint="give the certificate itself: `enarx-deploy appraise --endorsements`")
        reasons = tuple(_fault(item, self._store.entry(item), at) for item in items)
        raise MissingCollateral(reasons, hint=command(items[:1]))

    def _vlek(self, report: SnpEvidence, at: datetime) -> Entry:
        lines = [LINES[name] for name in lines_of(report)]
        levels = [(line.name, tcb_text(line, tcb_components(line, report.reported_tcb))) for line in lines]
        items = [item for key in levels for item in self._store.items("vlek", *key)]
        for entry in self._entries(items):
            if entry.current_at(at) and self._signed(report, entry, at):
                return entry
        places = " or ".join(" at ".join(key) for key in levels) or "an unknown line"
        hint = "AMD gives these keys to the provider alone: `enarx-deploy collateral import` the provider's vlek.der"
        raise MissingCollateral((f"no VLEK of {places} that signed the report is in the store",), hint=hint)

    def _signed(self, report: SnpEvidence, entry: Entry, at: datetime) -> bool:
        claims = snp.verify(report, SnpCollateral(vek=self._certificate(entry)), self._anchors, at)
        return any(check.ok for check in claims.checks if check.id == "snp.report.signature")

    def _intel(self, quote: Quote, at: datetime, lists_required: bool) -> Endorsements:
        items = platform_items(quote)
        entries = [self._store.entry(item) for item in items]
        faults = [
            _fault(item, entry, at)
            for item, entry in zip(items, entries, strict=True)
            if entry is None or (not entry.current_at(at) and (lists_required or not item.kind.endswith("-crl")))
        ]
        whole = [entry for entry in entries if entry is not None]
        if faults or len(whole) != len(items):
            raise MissingCollateral(tuple(faults), hint=command(items))
        digests = tuple(digest for entry in whole for digest in entry.blobs)
        return self._endorsed.get(digests, lambda: self._endorse(whole))

    def _endorse(self, entries: Iterable[Entry]) -> Endorsements:
        (info, info_chain), (identity, identity_chain), (pck_crl, pck_chain), (root_crl, _) = (
            self._store.read(entry) for entry in entries
        )
        document = compose(
            tcb_info=info,
            tcb_info_chain=info_chain.decode(),
            qe_identity=identity,
            qe_identity_chain=identity_chain.decode(),
            root_ca_crl=root_crl,
            pck_crl=pck_crl,
            pck_crl_chain=pck_chain.decode(),
        )
        return endorse(read_collateral(document), self._anchors)

    def _cca(self, evidence: CcaEvidence) -> Collateral:
        for entry in self._entries(self._store.items("cca-key")):
            found = self._parsed(entry, cca.read_collateral)
            if cose.verified(evidence.platform, found.platform_key):
                return found
        hint = "`enarx-deploy collateral import` a directory with the platform's platform.pub.pem"
        raise MissingCollateral(("no key of the CCA platform that signed the token is in the store",), hint=hint)

    def _entries(self, items: Sequence[Item]) -> Iterator[Entry]:
        for item in items[:MAX_CANDIDATES]:
            if (found := self._store.entry(item)) is not None:
                yield found

    def _certificate(self, entry: Entry) -> Certificate:
        return self._parsed(entry, read_certificate)

    def _list(self, entry: Entry) -> RevocationList:
        return self._parsed(entry, read_crl)

    def _chain(self, entry: Entry) -> tuple[Certificate, ...]:
        return self._parsed(entry, lambda data: tuple(read_pem(data)))

    def _parsed(self, entry: Entry, parse: Callable[[bytes], Parsed]) -> Parsed:
        made = self._read.get((entry.item.kind, entry.sha256), lambda: parse(self._store.read(entry)[0]))
        return cast(Parsed, made)


def _fault(item: Item, entry: Entry | None, at: datetime) -> str:
    """Why an item cannot be used."""
    if entry is None:
        return f"{item} is missing"
    if at < entry.not_before:
        return f"{item} begins at {entry.not_before.isoformat()}"
    return f"{item} ended at {entry.not_after.isoformat()}"


def _all(sets: Iterable[Iterable[Item]]) -> list[Item]:
    return [item for items in sets for item in items]
