"""The decision: evidence in, certificate or refusal out.

Invariants: no certificate without a verdict that is ok, except the marking of a Keep without hardware under Enarx's
protocol, where a policy asks for just that; no nonce answers twice; nothing in a certificate but its key is the
requester's choice; with a log, no certificate and no refusal that is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec

from enarx_attestation import (
    PURPOSE_TLS,
    Collateral,
    Evidence,
    MalformedEvidence,
    Sheet,
    UnknownKind,
    Verdict,
    parse,
)
from enarx_attestation.claims_extension import MAX_EVIDENCE, CertifiedEvidence, KeepClaims

from . import collateral, csr, decisions, release, renewal
from .appraisal import Appraisal
from .appraiser import Appraiser
from .ca import Authority, Leaf
from .decisions import Protocol
from .errors import MalformedRequest, Refused, Unattested
from .granting import check_package, give
from .grants import Grant
from .nonces import Nonces, NonceStore
from .package_signers import SignedBy, signed_by
from .policy import StewardPolicy
from .release import Recipient, Released
from .rules import RULES
from .workload import Workload, workload

if TYPE_CHECKING:
    # A database's client is a great deal to import for an authority without a log.
    from pathlib import Path

    from .issuance_log import IssuanceLog

Clock = Callable[[], datetime]

_MARKED_AS: Final = {"nil": "nil", "kvm": "nil"}
"""Enarx has one extension for both kinds without hardware."""
_UNCARRIED: Final = SignedBy(objection="Enarx's protocol carries no signatures")


class Challenge(msgspec.Struct, frozen=True):
    """A nonce, and when it ceases to be good."""

    nonce: bytes
    expires: Annotated[datetime, msgspec.Meta(tz=True)]


class Certified(msgspec.Struct, frozen=True):
    """A certificate with its issuers (DER, leaf first and root last), and the checks by which it was earned."""

    chain: tuple[bytes, ...]
    appraisal: Appraisal

    @property
    def certificate(self) -> bytes:
        """The leaf."""
        return self.chain[0]


class PolicyVersion(msgspec.Struct, frozen=True):
    """A policy and the authority that signs under it: replaced as one, so that no request sees a part of each."""

    authority: Authority
    policy: StewardPolicy


class _Shown(NamedTuple):
    """Evidence that could be read, and the endorsements that came with it."""

    document: Evidence
    offered: Collateral | None


class _Sent(NamedTuple):
    """What answers a challenge, as it came."""

    kind: str
    evidence: bytes
    nonce: bytes
    package: str | None
    endorsements: Mapping[str, bytes]

    def read(self, policy: StewardPolicy) -> _Shown:
        """Read it, as far as it can count under a policy. Raises `MalformedRequest`."""
        document = _read_evidence(self.evidence, self.kind)
        counts = policy.requester_counts
        return _Shown(document, collateral.read_offered(document, self.endorsements, requester_counts=counts))


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Steward:
    """One audience, and one policy with its authority at a time. Safe to use from many threads.

    A request is answered under the policy that was in force when it came, also if another takes its place meanwhile.
    Only an authority that is thrown away with the process, such as that of the issuer `selfsigned`, has no log.
    """

    def __init__(
        self,
        authority: Authority,
        policy: StewardPolicy,
        *,
        audience: str,
        clock: Clock = utc_now,
        nonces: Nonces | None = None,
        appraiser: Appraiser | None = None,
        log: IssuanceLog | None = None,
    ) -> None:
        self.audience = audience
        self._version = PolicyVersion(authority, policy)
        self._clock = clock
        self._nonces = nonces or NonceStore()
        self._appraiser = appraiser or Appraiser()
        self.log = log

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

    @property
    def shares_challenges(self) -> bool:
        """Whether other Stewards answer for its challenges too, so that to make one takes a while."""
        return self._nonces.shared

    def challenge(self) -> Challenge:
        """A new challenge. Raises `Overloaded`."""
        return Challenge(self._nonces.open(), self._clock() + self._nonces.lifetime)

    def open_challenges(self) -> int:
        """How many challenges are open. Raises `Unavailable`."""
        return self._nonces.count()

    def certify(
        self,
        *,
        request: bytes,
        nonce: bytes,
        kind: str,
        evidence: bytes,
        package: str | None = None,
        endorsements: Mapping[str, bytes] = MappingProxyType({}),
        signatures: Sequence[bytes] = (),
        renewed: Sequence[bytes] | None = None,
    ) -> Certified:
        """Issue a certificate for the key of a certificate request (DER), on evidence that answers a challenge.

        `package` is the digest that the evidence commits to, where it does not name it itself; `endorsements` are
        files by name that may complete the Steward's own (`collateral`); `signatures` are envelopes over the package
        (`enarx_signing.package_signature`). `renewed` is the chain (DER, leaf first) of a
        certificate whose place the new one takes: then it must be of the same kind and package (`renewal`).

        1. Request, evidence and endorsements can be read, and the request is signed by its key.
        2. The nonce is this Steward's own, unexpired, and used from now on.
        3. The evidence is authentic, and the policy accepts it, the package, and who signed that.
        4. Its report data commits to that nonce, that key, the package, this purpose and this audience.
        5. The request marks the kind of Keep that the evidence is of, where it marks one.
        6. Names and lifetime are the policy's.
        7. The decision is in the log before it is told.

        Raises `MalformedRequest`, `Refused`, `Unavailable`.
        """
        version = self._version
        with self._logged_refusal(version, "v1", kind, evidence):
            sent = _Sent(kind, evidence, nonce, package, endorsements)
            return self._certify(version, request, sent, signatures, renewed)

    def _certify(
        self,
        version: PolicyVersion,
        request: bytes,
        sent: _Sent,
        signatures: Sequence[bytes],
        renewed: Sequence[bytes] | None,
    ) -> Certified:
        now = self._clock()
        asked, shown = csr.read(request), sent.read(version.policy)
        previous = None if renewed is None else renewal.read(renewed)
        sheet = self._sheet_of(sent.nonce)
        if previous is not None:
            renewal.check_previous(previous, version.authority, version.policy, now, sheet)
        _refuse_failed(sheet)
        verdict, package = self._judge(version.policy, sent, shown, asked.spki, now, sheet)
        if asked.marking is not None:
            _check_marking(asked.marking, sent.kind, sheet)
        runs = workload(verdict.claims, package, signed_by(version.policy.signers, package, signatures, now))
        if previous is not None:
            renewal.check_same(previous, runs, sheet)
        grant = give(version.policy, runs, verdict.claims.valid_until, now, sheet) if verdict.ok else None
        appraisal = Appraisal.of(sheet.done(), verdict)
        if grant is None or not appraisal.ok:
            raise Refused(sheet.done() + verdict.checks, appraisal)
        found = _claims(verdict, runs, version.policy.sha256, nonce_bound=True)
        evidence = _certified_evidence(version.policy, shown.document, sent.nonce, self.audience)
        leaf = self._issue("v1", version, asked, found, grant, now, evidence, renewed[0] if renewed else None)
        return Certified((leaf, *version.authority.issuers), appraisal)

    def release(
        self,
        *,
        names: Sequence[str],
        key: bytes,
        nonce: bytes,
        kind: str,
        evidence: bytes,
        package: str | None = None,
        endorsements: Mapping[str, bytes] = MappingProxyType({}),
        certified_by: str | None = None,
    ) -> Released:
        """Seal secrets to a key (DER) that evidence commits to: all that are named, or none.

        `certified_by` is the digest of the intermediate by which the Keep knows this Steward. Where the policy was
        replaced since, that one signs still, while what is released is decided by the policy in force.

        1. Key, evidence and endorsements can be read.
        2. The nonce is this Steward's own, unexpired, and used from now on.
        3. The evidence is authentic, the policy accepts it and the package, and its report data commits to the key for
           the purpose `secret-release`.
        4. The policy releases each of the secrets to this kind and package.
        5. The decision is in the log before it is told.

        Raises `MalformedRequest`, `Refused`, `SecretUnreadable`, `Unavailable`.
        """
        version = self._version
        with self._logged_refusal(version, "v1", kind, evidence):
            sent = _Sent(kind, evidence, nonce, package, endorsements)
            return self._release(version, names, key, sent, certified_by)

    def _release(
        self, version: PolicyVersion, names: Sequence[str], key: bytes, sent: _Sent, certified_by: str | None
    ) -> Released:
        recipient_key, shown = release.read_key(key), sent.read(version.policy)
        sheet = self._sheet_of(sent.nonce)
        _refuse_failed(sheet)
        verdict, package = self._judge(version.policy, sent, shown, key, self._clock(), sheet, purpose=release.PURPOSE)
        # A rule names the package, so nobody has to have signed it.
        runs = workload(verdict.claims, package, SignedBy())
        check_package(version.policy, runs, sheet)
        files = _released_files(version.policy, names, runs, sheet)
        appraisal = Appraisal.of(sheet.done(), verdict)
        if not appraisal.ok:
            raise Refused(sheet.done() + verdict.checks, appraisal)
        secrets = release.read_files(files)
        recipient = Recipient(key=recipient_key, audience=self.audience, package=package, nonce=sent.nonce)
        sealed = tuple(recipient.seal(name, secrets[name]) for name in names)
        signature = version.authority.named(certified_by).sign(recipient.message(sealed))
        if self.log is not None:
            self.log.append(decisions.released(names, key, verdict, package, sent.evidence, version.policy.sha256))
        return Released(sealed, signature, appraisal)

    def _sheet_of(self, nonce: bytes) -> Sheet:
        """The sheet for what answers a challenge: its first check uses the nonce up."""
        sheet = Sheet(RULES)
        sheet.check("nonce.open", self._nonces.close(nonce), "an open challenge of this Steward", nonce.hex())
        return sheet

    def _judge(
        self,
        policy: StewardPolicy,
        sent: _Sent,
        shown: _Shown,
        spki: bytes,
        now: datetime,
        sheet: Sheet,
        *,
        purpose: str = PURPOSE_TLS,
    ) -> tuple[Verdict, str]:
        """The verdict over evidence for a key, and the package that it commits to."""
        return self._appraiser.v1(
            policy,
            shown.document,
            shown.offered,
            spki=spki,
            nonce=sent.nonce,
            package=sent.package,
            audience=self.audience,
            at=now,
            sheet=sheet,
            purpose=purpose,
        )

    def certify_enarx(self, request: bytes, version: PolicyVersion | None = None) -> bytes:
        """Issue a certificate (DER) under Enarx's protocol, where the request itself carries the evidence.

        `version` is for a bundle, all of which is judged by one policy; without it, the one in force is used.

        There, evidence commits to the key alone: no nonce, and no package but one that was fixed at launch. A Keep
        without hardware sends an empty marking and nothing else. The policy must accept Enarx's binding.
        Raises `MalformedRequest`, `Unattested`, `Refused`, `Unavailable`.
        """
        version = version or self._version
        with self._logged_refusal(version, "enarx", None, request):
            return self._certify_enarx(version, request)

    def _certify_enarx(self, version: PolicyVersion, request: bytes) -> bytes:
        now = self._clock()
        asked = csr.read(request)
        if asked.marking is None:
            raise Unattested("the certificate request carries no evidence")
        sheet = Sheet(RULES)
        if asked.marking.kind == "nil":
            _check_nil_marking(version.policy, asked.marking, sheet)
            _refuse_failed(sheet)
            grant = give(version.policy, Workload(kind="nil", signed=_UNCARRIED), None, now, sheet)
            if grant is None:
                raise Refused(sheet.done())
            return self._issue("enarx", version, asked, _unattested_claims(version.policy.sha256), grant, now)
        _check_enarx_form(version.policy, asked.marking.kind, sheet)
        document, offered = collateral.read_enarx(asked.marking.kind, asked.marking.value)
        verdict, package = self._appraiser.enarx(
            version.policy, document, offered, spki=asked.spki, at=now, sheet=sheet
        )
        runs = workload(verdict.claims, package, _UNCARRIED)
        grant = give(version.policy, runs, verdict.claims.valid_until, now, sheet) if verdict.ok else None
        if grant is None:
            raise Refused(sheet.done() + verdict.checks)
        found = _claims(verdict, runs, version.policy.sha256, nonce_bound=False)
        shown = _certified_evidence(version.policy, document)
        return self._issue("enarx", version, asked, found, grant, now, shown)

    def _issue(
        self,
        protocol: Protocol,
        version: PolicyVersion,
        asked: csr.Request,
        found: KeepClaims,
        grant: Grant,
        now: datetime,
        evidence: CertifiedEvidence | None = None,
        renewed: bytes | None = None,
    ) -> bytes:
        certificate = _issue(version, asked, found, grant, now, evidence)
        if self.log is not None:
            self.log.append(decisions.issued(certificate, found, protocol, renewed=renewed))
        return certificate

    @contextmanager
    def _logged_refusal(
        self, version: PolicyVersion, protocol: Protocol, kind: str | None, evidence: bytes
    ) -> Iterator[None]:
        try:
            yield
        except Refused as why:
            if self.log is not None:
                self.log.append(decisions.refused(why, protocol, kind, evidence, version.policy.sha256))
            raise


def _read_evidence(data: bytes, kind: str) -> Evidence:
    try:
        return parse(data, kind)
    except (MalformedEvidence, UnknownKind) as exc:
        raise MalformedRequest(str(exc), hint=exc.hint) from exc


def _released_files(policy: StewardPolicy, names: Sequence[str], runs: Workload, sheet: Sheet) -> dict[str, Path]:
    """Where the secrets are that a workload asks for and the policy releases to it; checks that those are all."""
    files = policy.secret_files(names, runs)
    withheld = [name for name in names if name not in files]
    shown = f"{runs.kind}, {runs.package}: not {', '.join(withheld)}" if withheld else "so it is"
    sheet.check("secret.granted", not withheld, "each is released to this kind and package", shown)
    return files


def _refuse_failed(sheet: Sheet) -> None:
    if any(not check.ok for check in sheet.done()):
        raise Refused(sheet.done())


def _check_marking(marking: csr.Marking, kind: str, sheet: Sheet) -> None:
    expected = _MARKED_AS.get(kind, kind)
    right = marking.kind == expected and (kind not in _MARKED_AS or marking.value == b"")
    sheet.check("request.marking", right, f"the empty marking of {expected}", marking.kind)


def _check_enarx_form(policy: StewardPolicy, kind: str, sheet: Sheet) -> None:
    """Refuse what is not accepted in any case before it is read, which takes long: nobody had to show anything."""
    section = policy.appraisal.section(kind)
    if section is None:
        sheet.check("policy.kind", False, f"a section [{kind}]")
    elif not section.legacy_binding:
        sheet.check("binding.form", False, "legacy_binding in the policy", "Enarx's hash of the key alone")
    _refuse_failed(sheet)


def _check_nil_marking(policy: StewardPolicy, marking: csr.Marking, sheet: Sheet) -> None:
    section = policy.appraisal.section(marking.kind)
    sheet.check("policy.kind", section is not None, f"a section [{marking.kind}]")
    if section is not None:
        sheet.check("request.marking", marking.value == b"", "an empty marking", f"{len(marking.value)} bytes")
        sheet.check("policy.workload", section.any_workload, "any_workload in the policy")
        sheet.check("binding.form", section.legacy_binding, "legacy_binding in the policy")


def _issue(
    version: PolicyVersion,
    asked: csr.Request,
    found: KeepClaims,
    grant: Grant,
    now: datetime,
    evidence: CertifiedEvidence | None = None,
) -> bytes:
    leaf = Leaf(
        key=asked.key,
        claims=found,
        grant=grant,
        trust_domain=version.policy.trust_domain,
        evidence=evidence,
    )
    return version.authority.issue(leaf, now)


def _certified_evidence(
    policy: StewardPolicy, document: Evidence, nonce: bytes | None = None, audience: str | None = None
) -> CertifiedEvidence | None:
    """The evidence as it goes into the certificate; None if it is too large for that, or the policy keeps it out."""
    if not policy.evidence_in_certificate or len(document.raw) > MAX_EVIDENCE:
        return None
    return CertifiedEvidence(kind=document.kind, data=document.raw, nonce=nonce, audience=audience)


def _unattested_claims(policy_sha256: str) -> KeepClaims:
    """Of a Keep without hardware under Enarx's protocol, which says nothing of itself."""
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


def _claims(verdict: Verdict, runs: Workload, policy_sha256: str, *, nonce_bound: bool) -> KeepClaims:
    found = verdict.claims
    return KeepClaims(
        backend=found.kind,
        hardware=found.hardware,
        status=found.status,
        package=runs.package,
        evidence_sha256=found.evidence_sha256,
        report_data=found.report_data,
        nonce_bound=nonce_bound,
        policy_sha256=policy_sha256,
        measurement=runs.measurement,
        signers=runs.signers,
        package_signers=runs.signed.keys,
        advisories=getattr(found, "advisories", ()),
    )
