"""Appraises the evidence in a certificate, so that nobody needs to be trusted but the vendor of the hardware.

Invariants: the verdict is that of `enarx_attestation`, under the caller's policy; what the report data must commit to
is computed from the key that the peer just proved to hold; nothing is fetched, and no URL is taken from evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import (
    PURPOSE_TLS,
    VENDOR_ANCHORS,
    Anchors,
    AttestationError,
    Binding,
    Collateral,
    Evidence,
    MalformedCollateral,
    MalformedEvidence,
    Policy,
    Verdict,
    appraise,
    parse,
    verify,
)
from enarx_attestation import Check as Finding
from enarx_attestation.claims_extension import CertifiedEvidence, Extension
from enarx_collateral import CollateralError

from .certificate import Leaf, moment
from .checks import Check, check, printable

MAX_AGE: Final = timedelta(days=7, minutes=1)
"""Longest life of a certificate whose evidence is taken: what a Steward's policy may give, and its allowance for
clocks. Evidence was made before the certificate, and may be as old as that."""
UNPROTECTED: Final = ("nil", "kvm")
_BOOTED: Final = {"tdx": ("rtmr1", "rtmr2"), "az-snp": ("pcrs",)}
"""Kinds whose launch measurement is the firmware's alone, and the fields of their sections for what that booted."""
_ENARX_KINDS: Final = ("snp", "sgx", "tdx")
"""The kinds for which Enarx has a binding."""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """With what the caller appraises evidence.

    `policy` is None where the caller gave none; then nothing is accepted. `endorse` finds the endorsements of a piece
    of evidence, and raises `MalformedCollateral` or `CollateralError` where there are none; `endorsed_by` says where
    it looks.
    """

    policy: Policy | None
    policy_from: str
    endorse: Callable[[Evidence, datetime], Collateral]
    endorsed_by: str
    anchors: Anchors = VENDOR_ANCHORS


class Appraised(NamedTuple):
    """The checks, and the verdict where it came to one."""

    checks: list[Check]
    verdict: Verdict | None = None
    package: str | None = None
    """The package that the evidence commits to."""
    compared: bool = False
    """Whether the policy says what may run in the Keep, whose word the package is."""


def appraise_certified(leaf: Leaf, hardware: Hardware, at: datetime) -> Appraised:
    """Appraise the evidence in a certificate, whose key the peer holds.

    1. `evidence.present`: the certificate holds evidence.
    2. `evidence.hardware`: of hardware.
    3. `evidence.claimed`: it is the evidence that the claims speak of.
    4. `evidence.age`: it is at most as old as a certificate may be.
    5. `evidence.form`: it can be read.
    6. `evidence.bound`: it answered a challenge, or the policy accepts Enarx's binding.
    7. `evidence.endorsed`: there are endorsements of its vendor.
    8. `policy.workload`: there is a policy.
    9. Every check of `enarx_attestation.verify` and `appraise`, by its own id. `binding.report-data` is the one that
       ties the evidence to the key.
    """
    extension = leaf.attested
    shown = None if extension is None else extension.evidence
    if extension is None or shown is None:
        return Appraised([check("evidence.present", False, "the certificate holds no evidence")])
    checks = [
        check("evidence.present", True, f"{len(shown.data):,} bytes of {shown.kind} evidence in the certificate"),
        _check_hardware(shown),
        check("evidence.claimed", *claimed(extension, shown)),
        check("evidence.age", *_age(leaf)),
    ]
    if shown.kind in UNPROTECTED:
        return Appraised(checks)
    try:
        evidence = parse(shown.data, shown.kind)
    except AttestationError as error:
        return Appraised([*checks, check("evidence.form", False, str(error))])
    checks.append(check("evidence.form", True, f"well-formed {shown.kind} evidence"))
    binding = binding_of(leaf, extension, shown, hardware.policy)
    if binding is None:
        return Appraised([*checks, check("evidence.bound", False, "it answered no challenge, and may be of any age")])
    checks.append(check("evidence.bound", True, _bound(binding)))
    appraised = _appraise(evidence, binding, hardware, at)
    return appraised._replace(checks=[*checks, *appraised.checks])


def _appraise(evidence: Evidence, binding: Binding, hardware: Hardware, at: datetime) -> Appraised:
    """Steps 7 to 9."""
    try:
        claims = verify(evidence, hardware.endorse(evidence, at), hardware.anchors, at)
    except (MalformedCollateral, MalformedEvidence, CollateralError) as error:
        found = check("evidence.endorsed", False, f"{hardware.endorsed_by}: {error}")
        return Appraised([msgspec.structs.replace(found, hint=error.hint or found.hint)])
    checks = [check("evidence.endorsed", True, f"endorsements from {hardware.endorsed_by}")]
    if hardware.policy is None:
        checks.append(check("policy.workload", False, "nothing says what may run in the Keep"))
    verdict = appraise(claims, hardware.policy or Policy(), expected=binding)
    if verdict.ok and verdict.claims.hardware is not True:
        return Appraised([*checks, check("evidence.hardware", False, f"no hardware vouches for {claims.kind}")])
    package = binding.package or claims.launch_package
    compared = _compares_what_runs(verdict.kind, hardware.policy)
    return Appraised([*checks, *map(finding, verdict.checks)], verdict, package, compared)


def _compares_what_runs(kind: str, policy: Policy | None) -> bool:
    section = None if policy is None else policy.section(kind)
    if section is None or section.any_workload:
        return False
    return all(getattr(section, name) for name in _BOOTED.get(kind, ()))


def _check_hardware(shown: CertifiedEvidence) -> Check:
    if shown.kind in UNPROTECTED:
        return check("evidence.hardware", False, f"no hardware vouches: {shown.kind} evidence is the Keep's own word")
    return check("evidence.hardware", True, f"{shown.kind} evidence is signed by hardware, if it is genuine")


def claimed(extension: Extension, shown: CertifiedEvidence) -> tuple[bool, str]:
    """Whether the claims of a certificate are about the evidence in it, and both of them in words."""
    claims, digest = extension.claims, hashlib.sha256(shown.data).hexdigest()
    same = claims.evidence_sha256 == digest and claims.backend == shown.kind
    return same, f"{shown.kind}, sha256 {digest}; the claims speak of {claims.backend}, {claims.evidence_sha256}"


def _age(leaf: Leaf) -> tuple[bool, str]:
    life = leaf.not_after - leaf.not_before
    return life <= MAX_AGE, f"made before {moment(leaf.not_before)}, and the certificate lives for {life}"


def binding_of(leaf: Leaf, extension: Extension, shown: CertifiedEvidence, policy: Policy | None) -> Binding | None:
    """What the report data must commit to; Enarx's form where the evidence answered no challenge and that will do."""
    spki = leaf.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    package = extension.claims.package
    if shown.nonce is not None and package is not None:
        audience = shown.audience or ""
        return Binding(purpose=PURPOSE_TLS, nonce=shown.nonce, spki=spki, package=package, audience=audience)
    section = None if policy is None else policy.section(shown.kind)
    if section is None or not section.legacy_binding or shown.kind not in _ENARX_KINDS:
        return None
    return Binding(purpose=PURPOSE_TLS, nonce=b"", spki=spki, package="", audience="", form="enarx")


def _bound(binding: Binding) -> str:
    if binding.form == "enarx":
        return "to the key alone, which the policy accepts; it may be of any age"
    return f"to the challenge {binding.nonce.hex()} of {binding.audience or 'a Steward without a name'}"


def finding(found: Finding) -> Check:
    """A check of an appraisal as a line of the report."""
    detail = found.actual or found.expected
    if found.expected and found.expected != found.actual:
        detail = f"{found.actual}; expected: {found.expected}" if found.actual else found.expected
    return Check(found.id, found.ok, printable(detail), found.outcome, found.hint, found.reference)
