"""Looks at a running service from outside, as a client would, and answers: from whom, for how long, where.

The verdict is made here and nowhere else, from all checks; no plugin takes part in it. Invariants: only a handshake
that OpenSSL verified against exactly the pinned root can lead to a yes, or, where the caller trusts hardware instead of
a Steward, only evidence that commits to the key which the peer proved to hold; what is accepted comes from the caller,
and nothing of it from the peer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from enarx_attestation import Verdict
from enarx_deploy.verification import answers, platform
from enarx_deploy.verification.certificate import Leaf, Unreadable, moment, read_leaf
from enarx_deploy.verification.checks import Check, check, skipped
from enarx_deploy.verification.connection import NoHandshake, NotReachable, Peer, observe
from enarx_deploy.verification.hardware import Appraised, Hardware, appraise_certified
from enarx_deploy.verification.software import Expected, compare_certified

__all__ = ["Check", "Expected", "Hardware", "Report", "Trust", "verify"]

TLS_VERSION = "TLSv1.3"
PATIENCE = timedelta(seconds=10)


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller trusts and expects.

    `root_pem` is empty where nobody is trusted: then no chain will do. `accepted` are the backends that will do,
    and `accepted_by` says who says so. `package` is the digest that is expected, or None where nobody could tell;
    then only `any_workload` lets a package pass. `expected` is what evidence of a Keep without hardware is compared
    with beside that, if anything. With `hardware` the evidence is appraised here, and neither the root
    nor `accepted` is relied upon.
    """

    root_pem: str
    root_path: Path
    accepted: frozenset[str]
    accepted_by: str
    package: str | None
    package_from: str = ""
    any_workload: bool = False
    expected: Expected | None = None
    hardware: Hardware | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, as `verify --json` prints it.

    `trust` is on whose word it rests. `certificate` and `claims` are None where none could be read, `hardware` where no
    verdict over evidence was made here.
    """

    ok: bool
    reachable: bool
    endpoint: str
    from_whom: str
    for_how_long: str
    where: str
    checks: list[Check]
    certificate: dict[str, object] | None = None
    claims: dict[str, object] | None = None
    trust: Literal["steward", "hardware"] = "steward"
    hardware: dict[str, object] | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that failed, in order."""
        return [check for check in self.checks if not check.ok]


class _Answers(NamedTuple):
    """What is said to the three questions."""

    from_whom: str
    for_how_long: str
    where: str


def verify(
    host: str, port: int, trust: Trust, at: datetime, *, name: str = "", patience: timedelta = PATIENCE
) -> Report:
    """Check the service at `host` and `port`, which must have a certificate for `name` (default: `host`).

    1. `connect`: something listens there.
    2. `tls.handshake`: it speaks TLS, and holds the key of the certificate that it shows.
    3. `tls.version`: it is TLS 1.3, so that recorded traffic stays closed when the key becomes known.
    4. `certificate.chain`: the certificate was issued under the pinned root.
    5. `certificate.validity`: it is valid at `at`.
    6. `certificate.name`: it is for `name`.
    7. `certificate.usage`: it is for TLS servers, and not an authority's.
    8. `certificate.key`: its key is on P-256 or P-384.
    9. `claims.present`: it says what was attested, in one well-formed extension.
    10. `claims.marking`: the marking of Keeps without hardware is there if the claims say so, and only then.
    11. `claims.spiffe`: the SPIFFE URI names the same package as the claims.
    12. `claims.backend`: the backend is one that the caller accepts.
    13. `claims.package`: the package is the one that the caller expects.

    With `trust.expected` `software.compare_certified` makes checks of its own. With `trust.hardware`, 4 and 12 are not
    relied upon, and `hardware.appraise_certified` makes checks of its own; without it, that the evidence behind the
    claims was good is the word of the Steward whose root is pinned.
    """
    endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = name or host
    try:
        peer = observe(host, port, name, trust.root_pem, patience)
    except NotReachable as error:
        return _without_peer(endpoint, trust, [check("connect", False, str(error))])
    except NoHandshake as error:
        connected = check("connect", True, "something listens there")
        return _without_peer(endpoint, trust, [connected, check("tls.handshake", False, str(error))])
    checks = _tls_checks(peer, trust)
    try:
        leaf = read_leaf(peer.certificate)
    except Unreadable as error:
        return _without_peer(endpoint, trust, [*checks, check("certificate.form", False, str(error))])
    appraised = None if trust.hardware is None else appraise_certified(leaf, trust.hardware, at)
    checks += [
        *_certificate_checks(leaf, peer, trust, name, at),
        *([] if trust.expected is None else compare_certified(leaf, trust.expected, at)),
        *([] if appraised is None else appraised.checks),
        *_claims_checks(leaf, trust, appraised),
    ]
    return _report(endpoint, peer, leaf, trust, at, checks, appraised)


def _tls_checks(peer: Peer, trust: Trust) -> list[Check]:
    root = f"the root in {trust.root_path}"
    issued = peer.chain_fault or f"issued under {root}"
    return [
        check("connect", True, f"{peer.address} answers"),
        check("tls.handshake", True, f"{peer.version} with {peer.cipher}; the peer holds its certificate's key"),
        check("tls.version", peer.version == TLS_VERSION, f"{peer.version}, expected {TLS_VERSION}"),
        check("certificate.chain", not peer.chain_fault, issued)
        if trust.hardware is None
        else skipped("certificate.chain", f"not relied upon; {issued}"),
    ]


def _certificate_checks(leaf: Leaf, peer: Peer, trust: Trust, name: str, at: datetime) -> list[Check]:
    valid, life = leaf.is_valid(at)
    chain_fault = peer.time_fault if trust.hardware is None else ""
    return [
        check("certificate.validity", valid and not chain_fault, chain_fault or life),
        check("certificate.name", *leaf.is_for(name)),
        check("certificate.usage", *leaf.is_for_servers()),
        check("certificate.key", *leaf.has_known_key()),
    ]


def _claims_checks(leaf: Leaf, trust: Trust, appraised: Appraised | None) -> list[Check]:
    if leaf.claims is None:
        return [check("claims.present", False, leaf.claims_fault)]
    backend = leaf.claims.backend
    return [
        check("claims.present", True, f"it says that it was issued on evidence of a {backend} Keep"),
        check("claims.marking", *leaf.marking_agrees(leaf.claims)),
        check("claims.spiffe", *leaf.spiffe_agrees(leaf.claims)),
        check("claims.backend", backend in trust.accepted, _accepted(backend, trust))
        if appraised is None
        else skipped("claims.backend", f"{backend}; not relied upon, the policy decides on the evidence"),
        check("claims.package", *_package(leaf.claims.package if appraised is None else appraised.package, trust)),
    ]


def _accepted(backend: str, trust: Trust) -> str:
    if not trust.accepted:
        return f"{backend}; {trust.accepted_by} names none that will do"
    return f"{backend}; {trust.accepted_by} accepts {', '.join(sorted(trust.accepted))}"


def _package(package: str | None, trust: Trust) -> tuple[bool, str]:
    named = package or "none is named"
    if trust.package is not None:
        return package == trust.package, f"{named}; {trust.package_from} expects {trust.package}"
    if trust.any_workload:
        return True, f"{named}; not compared, since any package was asked to do"
    return False, f"{named}; nothing says which is expected: give --package DIGEST, or --any-workload"


def _report(
    endpoint: str,
    peer: Peer,
    leaf: Leaf,
    trust: Trust,
    at: datetime,
    checks: list[Check],
    appraised: Appraised | None,
) -> Report:
    verdict = None if appraised is None else appraised.verdict
    ok = all(check.ok for check in checks) and leaf.claims is not None
    if trust.hardware is not None:
        ok = ok and verdict is not None and verdict.ok
    if not ok:
        said = _refused(checks, leaf)
    elif appraised is not None and verdict is not None:
        said = _by_hardware(endpoint, peer, leaf, verdict, appraised, at)
    else:
        said = _by_steward(endpoint, peer, leaf, trust, at)
    return Report(
        ok=ok,
        reachable=True,
        endpoint=endpoint,
        from_whom=said.from_whom,
        for_how_long=said.for_how_long,
        where=said.where,
        checks=checks,
        certificate=leaf.facts() | {"tls_version": peer.version, "tls_cipher": peer.cipher},
        claims=None if leaf.claims is None else msgspec.to_builtins(leaf.claims),
        trust="steward" if trust.hardware is None else "hardware",
        hardware=None if trust.hardware is None or verdict is None else _hardware_facts(verdict, leaf, trust.hardware),
    )


def _refused(checks: list[Check], leaf: Leaf) -> _Answers:
    said = _nothing(checks)
    if leaf.says_nothing_of_a_keep and [check.id for check in checks if not check.ok] == ["claims.present"]:
        return said._replace(from_whom=f"{said.from_whom}. {answers.by_name_alone(leaf)}")
    return said


def _by_steward(endpoint: str, peer: Peer, leaf: Leaf, trust: Trust, at: datetime) -> _Answers:
    assert leaf.claims is not None  # noqa: S101 — for the reader of types
    return _Answers(
        answers.from_whom(leaf.claims, leaf.issuer, str(trust.root_path)),
        answers.for_how_long(leaf, peer, at),
        answers.where(leaf.claims, peer, endpoint),
    )


def _by_hardware(
    endpoint: str, peer: Peer, leaf: Leaf, verdict: Verdict, appraised: Appraised, at: datetime
) -> _Answers:
    found = platform.describe(verdict.claims)
    return _Answers(
        answers.from_whom_by_hardware(found),
        answers.for_how_long_by_hardware(leaf, peer, verdict.claims, at, challenged=_challenged(leaf)),
        answers.where_by_hardware(found, appraised.package, peer, endpoint, measured_as_wanted=appraised.compared),
    )


def _challenged(leaf: Leaf) -> bool:
    shown = None if leaf.attested is None else leaf.attested.evidence
    return shown is not None and shown.nonce is not None


def _hardware_facts(verdict: Verdict, leaf: Leaf, hardware: Hardware) -> dict[str, object]:
    """What programs want to know of the evidence; `verified` is whether all checks over it passed."""
    shown = None if leaf.attested is None else leaf.attested.evidence
    nonce = None if shown is None or shown.nonce is None else shown.nonce.hex()
    ends = verdict.claims.valid_until
    described: dict[str, object] = msgspec.to_builtins(platform.describe(verdict.claims))
    return described | {
        "verified": verdict.ok,
        "kind": verdict.kind,
        "endorsements": hardware.endorsed_by,
        "endorsed_until": None if ends is None else moment(ends),
        "policy": hardware.policy_from,
        "nonce": nonce,
        "audience": None if shown is None else shown.audience,
        "claims": verdict.to_builtins()["claims"],
    }


def _without_peer(endpoint: str, trust: Trust, checks: list[Check]) -> Report:
    said = _nothing(checks)
    return Report(
        ok=False,
        reachable=checks[0].ok,
        endpoint=endpoint,
        from_whom=said.from_whom,
        for_how_long=said.for_how_long,
        where=said.where,
        checks=checks,
        trust="steward" if trust.hardware is None else "hardware",
    )


def _nothing(checks: list[Check]) -> _Answers:
    failed = ", ".join(check.id for check in checks if not check.ok)
    return _Answers(
        f"from nobody, as far as this check can tell: {failed} failed",
        "not at all: send nothing over this connection that others may not read",
        "unknown: nothing shows where the connection ends",
    )
