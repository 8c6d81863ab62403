"""The three steps: `parse`, `verify`, `appraise`. Whatever the kind of evidence, the answer is made here."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from .anchors import Anchors
from .binding import expected_report_data
from .checks import Rule, Sheet
from .errors import InvalidArgument, MalformedEvidence, UnknownKind
from .kinds import KINDS, Kind
from .model import Binding, Claims, Collateral, Evidence, Verdict
from .policy import Policy
from .section import Section

RULES: Final = {
    "claims.verified": Rule(
        "Take the claims that `verify` returned, whole; see the failed checks before this one.", "RFC 9334, section 4"
    ),
    "policy.kind": Rule(
        "Add a section of this name to the policy if such Keeps are to be accepted.", "RFC 9334, section 8.5"
    ),
    "binding.form": Rule(
        "Have the Keep commit to nonce, key, package and audience, or set `legacy_binding` for Enarx's clients.",
        "docs/architecture.md, binding",
    ),
    "binding.report-data": Rule(
        "The evidence was made for another key, nonce, package, purpose or audience: ask the Keep for fresh evidence.",
        "docs/architecture.md, binding",
    ),
    "binding.package": Rule(
        "The evidence names another package than the one expected.", "docs/architecture.md, binding"
    ),
    "binding.launch-package": Rule(
        "Start the Keep with the package's digest in HOST_DATA, MRCONFIGID or CONFIGID.",
        "docs/architecture.md, the Keep",
    ),
    "binding.packages": Rule(
        "Add the package's digest to `packages` of the section.", "docs/architecture.md, the Keep"
    ),
}
"""Checks that are made for every kind."""


def parse(data: bytes, kind: str | None = None, *, kinds: Mapping[str, Kind] = KINDS) -> Evidence:
    """Read evidence of a kind, or of whichever kind recognises it. Nothing is verified.

    Raises `UnknownKind`, or `MalformedEvidence` if the bytes are not whole, well-formed evidence of that kind.
    """
    entry = _recognise(data, kinds) if kind is None else _entry(kind, kinds)
    if len(data) > entry.max_size:
        raise MalformedEvidence(f"{entry.name} evidence has at most {entry.max_size} bytes, not {len(data)}")
    evidence = entry.parse(data)
    if evidence.kind != entry.name:
        raise MalformedEvidence(f"this is {evidence.kind} evidence, not {entry.name}")
    return evidence


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    at: datetime,
    *,
    kinds: Mapping[str, Kind] = KINDS,
) -> Claims:
    """Check that evidence is authentic and endorsed at the time `at`; return what it says, with the checks.

    Bad evidence yields failed checks. Raises `MalformedCollateral` for collateral that cannot be read, and
    `InvalidArgument` where `at` has no time zone or the collateral is of another kind. The claims are not yet
    accepted: that is for `appraise`.
    """
    if at.utcoffset() is None:
        raise InvalidArgument("the time of verification has no time zone")
    return _entry(evidence.kind, kinds).verify(evidence, collateral, anchors, at.astimezone(UTC))


def appraise(
    claims: Claims, policy: Policy, *, expected: Binding | bytes | None, kinds: Mapping[str, Kind] = KINDS
) -> Verdict:
    """Compare verified claims with a policy and with what the report data must commit to.

    1. The claims are verified: every check that their kind requires was made, and none failed.
    2. The policy has a section for the kind.
    3. The rules of that section hold.
    4. The report data is the expected one: a `Binding`, or exactly these bytes; `None` leaves it to the caller.
    5. Where the evidence names a package, it is the expected one.

    Left to the caller: that the nonce in `expected` is its own, fresh and used once, and that the peer holds the key.
    """
    entry = _entry(claims.kind, kinds)
    sheet = Sheet(RULES)
    made = {check.id for check in claims.checks}
    missing = sorted(entry.required - made)
    failed = [check.id for check in claims.checks if not check.ok]
    sheet.check(
        "claims.verified",
        bool(made) and not missing and not failed,
        "every check of verification made and passed",
        "; ".join([*(f"{id} was not made" for id in missing), *(f"{id} failed" for id in failed)]) or "so it is",
    )
    section = policy.section(claims.kind)
    present = section is not None
    sheet.check("policy.kind", present, f"a section [{claims.kind}]", "present" if present else "absent")
    if section is not None:
        own = Sheet(entry.rules)
        entry.appraise(claims, section, own)
        sheet.take(own.done())
        _appraise_binding(claims, expected, section.legacy_binding, sheet)
        _appraise_package(claims, expected, section, sheet)
    return Verdict(kind=claims.kind, status=claims.status, claims=claims, checks=claims.checks + sheet.done())


def _appraise_binding(claims: Claims, expected: Binding | bytes | None, legacy: bool, sheet: Sheet) -> None:
    if expected is None:
        sheet.skip("binding.report-data", "the caller expects no binding", claims.report_data)
        return
    wanted, form = expected_report_data(expected, claims.kind)
    if form == "enarx":
        sheet.check("binding.form", legacy, "legacy_binding in the policy", "Enarx's hash of the key alone")
    actual = bytes.fromhex(claims.report_data)
    if form == "exact":
        # A Keep pads what is shorter than the field with zeros.
        wanted = wanted.ljust(len(actual), b"\0")
    sheet.check("binding.report-data", hmac.compare_digest(wanted, actual), wanted.hex(), claims.report_data)


def _appraise_package(claims: Claims, expected: Binding | bytes | None, section: Section, sheet: Sheet) -> None:
    """The package is bound by the report data, by the evidence's own word, or by what was fixed at launch."""
    bound = expected.package if isinstance(expected, Binding) and expected.form == "v1" else None
    if bound is not None and claims.package is not None:
        sheet.check("binding.package", bound == claims.package, bound, claims.package)
    if section.measured_package:
        launched = claims.launch_package
        wanted = {bound} if bound is not None else set(section.packages)
        sheet.check("binding.launch-package", launched is not None and launched in wanted, wanted, launched)
    if section.packages:
        package = claims.launch_package if section.measured_package else bound or claims.package
        sheet.check("binding.packages", package in section.packages, ", ".join(section.packages), package)


def _entry(kind: str, kinds: Mapping[str, Kind]) -> Kind:
    entry = kinds.get(kind)
    if entry is None:
        raise UnknownKind(f"evidence of kind {kind!r} is not known", hint=f"known kinds: {', '.join(sorted(kinds))}")
    return entry


def _recognise(data: bytes, kinds: Mapping[str, Kind]) -> Kind:
    found = [entry for entry in kinds.values() if entry.recognise(data)]
    if len(found) != 1:
        names = ", ".join(entry.name for entry in found) or "none"
        raise UnknownKind(f"the kind of this evidence is not clear (it looks like: {names})", hint="name the kind")
    return found[0]
