"""The decision: evidence in, certificate or refusal out.

Invariants: no certificate without a verdict that is ok, except the marking of a Keep without hardware under Enarx's
protocol, where a policy asks for just that; no nonce answers twice; nothing in a certificate but its key is the
requester's choice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from enarx_attestation import (
    PURPOSE_TLS,
    VENDOR_ANCHORS,
    Binding,
    Check,
    Collateral,
    Evidence,
    MalformedEvidence,
    Rule,
    Sheet,
    UnknownKind,
    Verdict,
    appraise,
    parse,
    verify,
)
from enarx_attestation.claims_extension import MAX_EVIDENCE, CertifiedEvidence, KeepClaims

from . import csr
from .ca import Authority, Leaf
from .errors import MalformedRequest, Refused, Unattested
from .nonces import NonceStore
from .policy import StewardPolicy

Clock = Callable[[], datetime]

RULES: Final = {
    "nonce.open": Rule(
        "Ask for a new challenge and have the Keep answer it: each is good once, for two minutes.",
        "docs/steward.md, challenges",
    ),
    "request.marking": Rule(
        "The certificate request marks another kind of Keep than the evidence is of.", "docs/steward.md, requests"
    ),
    "evidence.collateral": Rule(
        "This Steward has no endorsements for this kind of evidence, and cannot appraise it.",
        "RFC 9334, section 8.3",
    ),
    "policy.kind": Rule(
        "Add a section of this name to the policy if such Keeps are to be accepted.", "RFC 9334, section 8.5"
    ),
    "policy.workload": Rule(
        "Enarx's protocol names no package: set `any_workload` in the policy, or use the v1 protocol.",
        "docs/steward.md, Enarx's protocol",
    ),
    "binding.form": Rule(
        "Set `legacy_binding` in the policy for Enarx's clients, or use the v1 protocol.",
        "docs/steward.md, Enarx's protocol",
    ),
}

_NO_COLLATERAL: Final = {"nil": Collateral(), "kvm": Collateral()}
"""The kinds that nobody endorses."""
_MARKED_AS: Final = {"nil": "nil", "kvm": "nil"}
"""Enarx has one extension for both kinds without hardware."""


class Challenge(msgspec.Struct, frozen=True):
    """A nonce, and when it ceases to be good."""

    nonce: bytes
    expires: datetime


class Certified(msgspec.Struct, frozen=True):
    """A certificate with its issuers (DER, leaf first and root last), and the checks by which it was earned."""

    chain: tuple[bytes, ...]
    appraisal: dict[str, Any]

    @property
    def certificate(self) -> bytes:
        """The leaf."""
        return self.chain[0]


class PolicyVersion(msgspec.Struct, frozen=True):
    """A policy and the authority that signs under it: replaced as one, so that no request sees a part of each."""

    authority: Authority
    policy: StewardPolicy


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Steward:
    """One audience, and one policy with its authority at a time. Safe to use from many threads.

    A request is answered under the policy that was in force when it came, also if another takes its place meanwhile.
    """

    def __init__(
        self,
        authority: Authority,
        policy: StewardPolicy,
        *,
        audience: str,
        clock: Clock = utc_now,
        nonces: NonceStore | None = None,
    ) -> None:
        self.audience = audience
        self._version = PolicyVersion(authority, policy)
        self._clock = clock
        self._nonces = nonces or NonceStore()

    @property
    def version(self) -> PolicyVersion:
        """What is in force: take it once for each request."""
        return self._version

    @property
    def authority(self) -> Authority:
        """The authority in force."""
        return self._version.authority

    @property
    def policy(self) -> StewardPolicy:
        """The policy in force."""
        return self._version.policy

    def replace_policy(self, policy: StewardPolicy, authority: Authority | None = None) -> PolicyVersion:
        """Put another policy in force, with an authority of its own or the present one; returns what was in force.

        Requests under way keep theirs, and open challenges stay open.
        """
        replaced = self._version
        self._version = PolicyVersion(authority or replaced.authority, policy)
        return replaced

    def challenge(self) -> Challenge:
        """A new challenge. Raises `Overloaded`."""
        return Challenge(self._nonces.open(), self._clock() + self._nonces.lifetime)

    def certify(self, *, request: bytes, nonce: bytes, kind: str, evidence: bytes) -> Certified:
        """Issue a certificate for the key of a certificate request (DER), on evidence that answers a challenge.

        1. Request and evidence can be read, and the request is signed by its key.
        2. The nonce is this Steward's own, unexpired, and used from now on.
        3. The evidence is authentic, and the policy accepts it and the package.
        4. Its report data commits to that nonce, that key, the package, this purpose and this audience.
        5. The request marks the kind of Keep that the evidence is of, where it marks one.
        6. Names and lifetime are the policy's.

        Raises `MalformedRequest`, `Refused`.
        """
        version, now = self._version, self._clock()
        asked = csr.read(request)
        document = _read_evidence(evidence, kind)
        sheet = Sheet(RULES)
        sheet.check("nonce.open", self._nonces.close(nonce), "an open challenge of this Steward", nonce.hex())
        _refuse_failed(sheet)
        verdict = self._appraise(version.policy, document, asked.spki, nonce, now, sheet)
        if asked.marking is not None:
            _check_marking(asked.marking, document.kind, sheet)
        appraisal = _summary(sheet.done(), verdict)
        if not appraisal["ok"]:
            raise Refused(sheet.done() + verdict.checks, appraisal)
        shown = _certified_evidence(document, nonce, self.audience) if version.policy.evidence_in_certificate else None
        return Certified((_issue(version, asked, verdict, now, shown), *version.authority.issuers), appraisal)

    def certify_enarx(self, request: bytes, version: PolicyVersion | None = None) -> bytes:
        """Issue a certificate (DER) under Enarx's protocol, where the request itself carries the evidence.

        `version` is for a bundle, all of which is judged by one policy; without it, the one in force is used.

        There, a Keep without hardware sends an empty marking and nothing else: no report data, no nonce, no package.
        The policy must accept the kind, any workload, and Enarx's binding. Evidence of hardware is refused so far.
        Raises `MalformedRequest`, `Unattested`, `Refused`.
        """
        version, now = version or self._version, self._clock()
        asked = csr.read(request)
        if asked.marking is None:
            raise Unattested("the certificate request carries no evidence")
        sheet = Sheet(RULES)
        _check_enarx(version.policy, asked.marking, sheet)
        _refuse_failed(sheet)
        return _issue(version, asked, None, now)

    def _appraise(
        self, policy: StewardPolicy, document: Evidence, spki: bytes, nonce: bytes, now: datetime, sheet: Sheet
    ) -> Verdict:
        endorsed = document.kind in _NO_COLLATERAL
        sheet.check("evidence.collateral", endorsed, f"endorsements for {document.kind}")
        _refuse_failed(sheet)
        found = verify(document, _NO_COLLATERAL[document.kind], VENDOR_ANCHORS, now)
        # The evidence names its package itself, and report data that commits to another one will not match.
        package = found.package or ""
        if not package:
            raise MalformedRequest("the evidence names no package")
        binding = Binding(purpose=PURPOSE_TLS, nonce=nonce, spki=spki, package=package, audience=self.audience)
        return appraise(found, policy.appraisal, expected=binding)


def _read_evidence(data: bytes, kind: str) -> Evidence:
    try:
        return parse(data, kind)
    except (MalformedEvidence, UnknownKind) as exc:
        raise MalformedRequest(str(exc), hint=exc.hint) from exc


def _refuse_failed(sheet: Sheet) -> None:
    if any(not check.ok for check in sheet.done()):
        raise Refused(sheet.done())


def _check_marking(marking: csr.Marking, kind: str, sheet: Sheet) -> None:
    expected = _MARKED_AS.get(kind, kind)
    right = marking.kind == expected and (kind not in _MARKED_AS or marking.value == b"")
    sheet.check("request.marking", right, f"the empty marking of {expected}", marking.kind)


def _check_enarx(policy: StewardPolicy, marking: csr.Marking, sheet: Sheet) -> None:
    section = policy.appraisal.section(marking.kind)
    sheet.check("policy.kind", section is not None, f"a section [{marking.kind}]")
    if section is not None:
        endorsed = marking.kind in _NO_COLLATERAL
        sheet.check("evidence.collateral", endorsed, f"endorsements for {marking.kind}")
        sheet.check("request.marking", marking.value == b"", "an empty marking", f"{len(marking.value)} bytes")
        sheet.check("policy.workload", section.any_workload, "any_workload in the policy")
        sheet.check("binding.form", section.legacy_binding, "legacy_binding in the policy")


def _issue(
    version: PolicyVersion,
    asked: csr.Request,
    verdict: Verdict | None,
    now: datetime,
    evidence: CertifiedEvidence | None = None,
) -> bytes:
    policy = version.policy
    found = _claims(verdict, policy.sha256)
    leaf = Leaf(
        key=asked.key,
        claims=found,
        grant=policy.grant(found.backend),
        trust_domain=policy.trust_domain,
        evidence=evidence,
    )
    return version.authority.issue(leaf, now)


def _certified_evidence(document: Evidence, nonce: bytes, audience: str) -> CertifiedEvidence | None:
    """The evidence as it goes into the certificate; None if it is too large for that."""
    if len(document.raw) > MAX_EVIDENCE:
        return None
    return CertifiedEvidence(kind=document.kind, data=document.raw, nonce=nonce, audience=audience)


def _summary(own: tuple[Check, ...], verdict: Verdict) -> dict[str, Any]:
    summary = verdict.to_builtins()
    summary["ok"] = verdict.ok and all(check.ok for check in own)
    summary["checks"] = [*msgspec.to_builtins(own), *summary["checks"]]
    return summary


def _claims(verdict: Verdict | None, policy_sha256: str) -> KeepClaims:
    if verdict is None:
        return KeepClaims(
            backend="nil",
            hardware=False,
            status="Unprotected",
            package=None,
            evidence_sha256=None,
            report_data=None,
            nonce_bound=False,
            policy_sha256=policy_sha256,
        )
    found = verdict.claims
    return KeepClaims(
        backend=found.kind,
        hardware=found.hardware,
        status=found.status,
        package=found.package,
        evidence_sha256=found.evidence_sha256,
        report_data=found.report_data,
        nonce_bound=True,
        policy_sha256=policy_sha256,
    )
