"""What endorses evidence: what the Steward's own store holds, and what a requester sends along.

All of it is verified under the same anchors, so that nobody can make endorsements up. But whoever sends them chooses
among those that are authentic and still hold, and would choose the ones of before the latest revocation. A chip's
certificate is what it is; lists and statements that age are the store's, unless the policy lets the requester's count
too, and then never in the place of newer ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from msgspec.structs import replace

from enarx_attestation import (
    Anchors,
    AttestationError,
    Collateral,
    Endorsements,
    Evidence,
    IntelCollateral,
    MalformedCollateral,
    SnpCollateral,
    enarx,
    endorse,
    load_endorsements,
    parse,
)
from enarx_attestation.cca import CcaCollateral
from enarx_attestation.intel_collateral import PCK_AUTHORITIES, ROOT, read_tcb_info_answer
from enarx_attestation.intel_quote import PCK_CHAIN, Quote
from enarx_attestation.intel_tcb import EnclaveIdentity, TcbInfo, read_tcb_info
from enarx_attestation.x509 import Certificate, RevocationList, read_certificate, read_crl, read_pem

from .errors import MalformedRequest

NOT_ENDORSED: Final = frozenset({"nil", "kvm", "nitro"})
"""Kinds that nobody endorses, or whose evidence carries all that does."""
_AGELESS: Final = frozenset({"vcek.der", "vlek.der", "ca_chain.pem", "platform.pub.pem"})
FILES: Final = _AGELESS | {"collateral.json"}
"""What a requester may send, beside revocation lists (`crl*.der`)."""
MAX_FILES: Final = 8
"""Most endorsements of one request."""

_INTEL_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "tcb_info": ("tcb_info", "tcb_info_signed", "tcb_info_signature", "tcb_info_chain"),
    "qe_identity": ("qe_identity", "qe_identity_signed", "qe_identity_signature", "qe_identity_chain"),
    "root_crl": ("root_crl",),
    "pck_crl": ("pck_crl", "pck_crl_chain"),
}
"""The parts of Intel's collateral that age by themselves, and the fields that belong together."""


Revocation = Literal["require", "prefer", "off"]


class CollateralSource(Protocol):
    """Where the Steward's own endorsements come from."""

    def find(self, evidence: Evidence, at: datetime, *, revocation: Revocation) -> Collateral:
        """All that is needed to verify the evidence at that time. Raises `MissingCollateral`.

        Under "require", a revocation list that is absent or stale is missing too.
        """
        ...


class MissingCollateral(Exception):
    """A source lacks what evidence needs: `str(missing)` says what, `hint` how to get it.

    `held` is what there is without current revocation lists. Where there is not even that, `lists` are AMD's, and
    `issues` say of the parts of Intel's, also those that have ended, up to which issue they were known.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        held: Collateral | None = None,
        lists: tuple[RevocationList, ...] = (),
        issues: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.held = held
        self.lists = lists
        self.issues = issues


class UnreadableStore(MissingCollateral):
    """What a source knows cannot be read, so that nothing of a requester's can be compared with it."""


class IntelParts(Collateral, frozen=True, kw_only=True):
    """Some of the parts of Intel's collateral, by name, each with the fields that belong together."""

    parts: Mapping[str, dict[str, Any]]


class NoCollateral:
    """A source that holds nothing."""

    def find(self, evidence: Evidence, at: datetime, *, revocation: Revocation) -> Collateral:  # noqa: ARG002 — the protocol's shape
        """Raises `MissingCollateral`."""
        raise MissingCollateral(f"this Steward has no store, and so nothing that endorses {evidence.kind} evidence")


def read_offered(evidence: Evidence, files: Mapping[str, bytes], *, requester_counts: bool) -> Collateral | None:
    """What a requester sent along, by file name. Raises `MalformedRequest`.

    Lists and statements that do not count are not read: that takes long, and nobody had to show anything for it.
    """
    strange = [name for name in files if name not in FILES and not (name.startswith("crl") and name.endswith(".der"))]
    if strange or len(files) > MAX_FILES:
        raise MalformedRequest(
            f"endorsements are at most {MAX_FILES} files, none of which is called {', '.join(strange)!r}"
            if strange
            else f"endorsements are at most {MAX_FILES} files, not {len(files)}",
            hint=f"known: {', '.join(sorted(FILES))}, crl*.der",
        )
    if not requester_counts:
        files = {name: data for name, data in files.items() if name in _AGELESS}
    if not files:
        return None
    try:
        return load_endorsements(evidence.kind, files, evidence)
    except MalformedCollateral as exc:
        raise MalformedRequest(f"the endorsements cannot be read: {exc}", hint=exc.hint) from exc


def gather(
    evidence: Evidence,
    offered: Collateral | None,
    source: CollateralSource,
    at: datetime,
    anchors: Anchors,
    *,
    revocation: Revocation,
    requester_counts: bool,
) -> Collateral:
    """The collateral for evidence, of the store and of the requester.

    `requester_counts` says whether lists and statements of the requester's may make up for older ones of the store's;
    none does that is not authentic under `anchors`. Raises `MissingCollateral`.
    """
    if evidence.kind in NOT_ENDORSED:
        return Collateral()
    try:
        held = source.find(evidence, at, revocation=revocation)
    except UnreadableStore:
        raise
    except MissingCollateral as missing:
        return _make_up(evidence, offered, missing, anchors, requester_counts)
    return _combine(held, offered, anchors, requester_counts)


def _make_up(
    evidence: Evidence,
    offered: Collateral | None,
    missing: MissingCollateral,
    anchors: Anchors,
    requester_counts: bool,
) -> Collateral:
    """What a requester sent, together with the part that the store holds. Raises `missing` if that will not do."""
    if missing.held is not None and requester_counts and offered is not None:
        return _combine(missing.held, offered, anchors, requester_counts)
    if isinstance(offered, SnpCollateral) and missing.held is None:
        # A chip's certificate does not age: which lists there are is another question, and the policy's.
        crls = missing.lists + (_not_older(offered.crls, missing.lists) if requester_counts else ())
        return replace(offered, crls=crls)
    if isinstance(offered, CcaCollateral):
        return offered
    if isinstance(offered, IntelCollateral) and requester_counts:
        found = _endorsed(offered, anchors)
        # What is newer and speaks of another authority's certificates would hide what the store has seen revoked.
        if (
            found is not None
            and all(_reaches(getattr(offered, name), issue) for name, issue in missing.issues.items())
            and {known.issuer for known in found.pck_lists} & _authorities(evidence)
        ):
            return found
    raise missing


def _combine(held: Collateral, offered: Collateral | None, anchors: Anchors, requester_counts: bool) -> Collateral:
    if not requester_counts or offered is None:
        return held
    if isinstance(held, SnpCollateral) and isinstance(offered, SnpCollateral):
        return replace(held, crls=held.crls + _not_older(offered.crls, held.crls))
    own = held.collateral if isinstance(held, Endorsements) else held
    if isinstance(own, IntelCollateral):
        newest = _newest(own, offered)
        # A list that nobody signed would take the place of one that tells of revocations, and then count as absent.
        return held if newest is own else _endorsed(newest, anchors) or held
    return held


def _endorsed(collateral: IntelCollateral, anchors: Anchors) -> Endorsements | None:
    """Collateral whose every part is authentic; None if one is not."""
    found = endorse(collateral, anchors)
    lists = found.root_lists and found.pck_lists
    return found if found.pinned and found.tcb_info_signed and found.qe_identity_signed and lists else None


def _not_older(offered: tuple[RevocationList, ...], held: tuple[RevocationList, ...]) -> tuple[RevocationList, ...]:
    """The offered lists of which the store has no newer one."""
    return tuple(
        found
        for found in offered
        if all(_reaches(found, _issue(known)) for known in held if known.issuer == found.issuer)
    )


def _newest(held: IntelCollateral, offered: Collateral) -> IntelCollateral:
    """The store's collateral with those parts of the requester's that are not older."""
    parts = offered.parts if isinstance(offered, IntelParts) else _parts(offered)
    changes: dict[str, Any] = {}
    for name, fields in parts.items():
        new, old = fields[name], getattr(held, name)
        if new is not None and old is not None and _same_subject(new, old) and _reaches(new, _issue(old)):
            changes |= fields
    return replace(held, sha256=_digest(held.sha256, changes), **changes) if changes else held


def _parts(offered: Collateral) -> dict[str, dict[str, Any]]:
    if not isinstance(offered, IntelCollateral):
        return {}
    return {name: {field: getattr(offered, field) for field in fields} for name, fields in _INTEL_PARTS.items()}


def _issue(part: TcbInfo | EnclaveIdentity | RevocationList) -> tuple[int, ...]:
    """Numbers of which none falls from one issue of a statement or list to the next."""
    if isinstance(part, RevocationList):
        return part.number or 0, int(part.this_update.timestamp())
    return part.tcbEvaluationDataNumber, int(part.issueDate.timestamp())


def _reaches(part: TcbInfo | EnclaveIdentity | RevocationList, issue: tuple[int, ...]) -> bool:
    """Whether a part is of that issue or a later one."""
    return all(new >= old for new, old in zip(_issue(part), issue, strict=True))


def _same_subject(new: Any, old: Any) -> bool:
    """Whether two parts speak of the same: a platform family, a quoting enclave, an authority's certificates."""
    if isinstance(new, RevocationList):
        return bool(new.issuer == old.issuer)
    if isinstance(new, TcbInfo):
        return (new.id, new.fmspc) == (old.id, old.fmspc)
    return bool(new.id == old.id)


def _digest(sha256: str, changes: Mapping[str, Any]) -> str:
    signed = [sha256.encode(), *(value for name, value in sorted(changes.items()) if isinstance(value, bytes))]
    signed += [value.tbs for _, value in sorted(changes.items()) if isinstance(value, RevocationList)]
    return hashlib.sha256(b"".join(signed)).hexdigest()


def read_enarx(kind: str, value: bytes) -> tuple[Evidence, Collateral]:
    """The evidence in a request of Enarx's, and what came with it. Raises `MalformedRequest`.

    Of SGX, no identity of the quoting enclave comes with it: that is the store's.
    """
    try:
        if kind == "snp":
            report, collateral = enarx.read_snp(value)
            return parse(report, kind), collateral
        return _read_enarx_sgx(enarx.read_sgx(value))
    except AttestationError as exc:
        raise MalformedRequest(f"the evidence in the certificate request cannot be read: {exc}") from exc


def _read_enarx_sgx(found: enarx.EnarxSgx) -> tuple[Evidence, IntelParts]:
    quote = parse(found.quote, "sgx")
    assert isinstance(quote, Quote)  # noqa: S101 — what `parse` makes of this kind
    signed, signature = read_tcb_info_answer(found.tcb_info)
    chain = tuple(read_certificate(certificate) for certificate in found.tcb_chain)
    parts: dict[str, dict[str, Any]] = {
        "tcb_info": {
            "tcb_info": read_tcb_info(signed),
            "tcb_info_signed": signed,
            "tcb_info_signature": signature,
            "tcb_info_chain": chain,
        }
    }
    platform_chain, authorities = _platform_chain(quote), _authorities(quote)
    roots = {found.subject for found in platform_chain if found.common_name == ROOT}
    for crl in map(read_crl, found.crls):
        if crl.issuer in roots:
            parts["root_crl"] = {"root_crl": crl}
        elif crl.issuer in authorities:
            parts["pck_crl"] = {"pck_crl": crl, "pck_crl_chain": platform_chain}
    return quote, IntelParts(parts=parts)


def _platform_chain(quote: Quote) -> tuple[Certificate, ...]:
    return tuple(read_pem(quote.certification_data)) if quote.certification_type == PCK_CHAIN else ()


def _authorities(evidence: Evidence) -> set[bytes]:
    """Names of the PCK CAs in the chain that a quote carries."""
    chain = _platform_chain(evidence) if isinstance(evidence, Quote) else ()
    return {found.subject for found in chain if found.common_name in PCK_AUTHORITIES}
