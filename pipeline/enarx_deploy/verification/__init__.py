"""Looks at a running service from outside, as a client would, and answers: from whom, for how long, where.

The verdict is made here and nowhere else, from all checks; no plugin takes part in it. Invariants: only a handshake
that OpenSSL verified against exactly the pinned root can lead to a yes; what is accepted comes from the caller, and
nothing of it from the peer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from enarx_deploy.verification import answers
from enarx_deploy.verification.certificate import Leaf, Unreadable, read_leaf
from enarx_deploy.verification.connection import NoHandshake, NotReachable, Peer, observe

TLS_VERSION = "TLSv1.3"
PATIENCE = timedelta(seconds=10)
MAX_DETAIL = 500
"""Most characters of a check's detail."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller trusts and expects.

    `root_pem` is empty where nobody is trusted: then no chain will do. `accepted` are the backends that will do,
    and `accepted_by` says who says so. `package` is the digest that is expected, or None where nobody could tell;
    then only `any_workload` lets a package pass.
    """

    root_pem: str
    root_path: Path
    accepted: frozenset[str]
    accepted_by: str
    package: str | None
    package_from: str = ""
    any_workload: bool = False


class Check(msgspec.Struct, frozen=True):
    """One question, its answer, and the reason in one line."""

    id: str
    ok: bool
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, as `verify --json` prints it. `certificate` and `claims` are None where none could be read."""

    ok: bool
    reachable: bool
    endpoint: str
    from_whom: str
    for_how_long: str
    where: str
    checks: list[Check]
    certificate: dict[str, object] | None = None
    claims: dict[str, object] | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that failed, in order."""
        return [check for check in self.checks if not check.ok]


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

    Left to others: that the evidence behind the claims was good. That is the word of the Steward whose root is pinned.
    """
    endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = name or host
    try:
        peer = observe(host, port, name, trust.root_pem, patience)
    except NotReachable as error:
        return _without_peer(endpoint, [_check("connect", False, str(error))])
    except NoHandshake as error:
        connected = _check("connect", True, "something listens there")
        return _without_peer(endpoint, [connected, _check("tls.handshake", False, str(error))])
    checks = _tls_checks(peer, trust)
    try:
        leaf = read_leaf(peer.certificate)
    except Unreadable as error:
        return _without_peer(endpoint, [*checks, _check("certificate.form", False, str(error))])
    checks += [*_certificate_checks(leaf, peer, name, at), *_claims_checks(leaf, trust)]
    return _report(endpoint, peer, leaf, trust, at, checks)


def _check(id: str, ok: bool, detail: str) -> Check:
    # The peer chose some of the words, and they go to a terminal.
    printable = "".join(character if character.isprintable() else "?" for character in detail)
    return Check(id, ok, printable[:MAX_DETAIL])


def _tls_checks(peer: Peer, trust: Trust) -> list[Check]:
    root = f"the root in {trust.root_path}"
    return [
        _check("connect", True, f"{peer.address} answers"),
        _check("tls.handshake", True, f"{peer.version} with {peer.cipher}; the peer holds its certificate's key"),
        _check("tls.version", peer.version == TLS_VERSION, f"{peer.version}, expected {TLS_VERSION}"),
        _check("certificate.chain", not peer.chain_fault, peer.chain_fault or f"issued under {root}"),
    ]


def _certificate_checks(leaf: Leaf, peer: Peer, name: str, at: datetime) -> list[Check]:
    valid, life = leaf.is_valid(at)
    return [
        _check("certificate.validity", valid and not peer.time_fault, peer.time_fault or life),
        _check("certificate.name", *leaf.is_for(name)),
        _check("certificate.usage", *leaf.is_for_servers()),
        _check("certificate.key", *leaf.has_known_key()),
    ]


def _claims_checks(leaf: Leaf, trust: Trust) -> list[Check]:
    if leaf.claims is None:
        return [_check("claims.present", False, leaf.claims_fault)]
    backend = leaf.claims.backend
    return [
        _check("claims.present", True, f"it says that it was issued on evidence of a {backend} Keep"),
        _check("claims.marking", *leaf.marking_agrees(leaf.claims)),
        _check("claims.spiffe", *leaf.spiffe_agrees(leaf.claims)),
        _check("claims.backend", backend in trust.accepted, _accepted(backend, trust)),
        _check("claims.package", *_package(leaf.claims.package, trust)),
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


def _report(endpoint: str, peer: Peer, leaf: Leaf, trust: Trust, at: datetime, checks: list[Check]) -> Report:
    ok = all(check.ok for check in checks)
    claims = leaf.claims
    if ok and claims is not None:
        said = (
            answers.from_whom(claims, leaf.issuer, str(trust.root_path)),
            answers.for_how_long(leaf, peer, at),
            answers.where(claims, peer, endpoint),
        )
    else:
        ok, said = False, _nothing(checks)
    return Report(
        ok=ok,
        reachable=True,
        endpoint=endpoint,
        from_whom=said[0],
        for_how_long=said[1],
        where=said[2],
        checks=checks,
        certificate=leaf.facts() | {"tls_version": peer.version, "tls_cipher": peer.cipher},
        claims=None if claims is None else msgspec.to_builtins(claims),
    )


def _without_peer(endpoint: str, checks: list[Check]) -> Report:
    said = _nothing(checks)
    return Report(
        ok=False,
        reachable=checks[0].ok,
        endpoint=endpoint,
        from_whom=said[0],
        for_how_long=said[1],
        where=said[2],
        checks=checks,
    )


def _nothing(checks: list[Check]) -> tuple[str, str, str]:
    failed = ", ".join(check.id for check in checks if not check.ok)
    return (
        f"from nobody, as far as this check can tell: {failed} failed",
        "not at all: send nothing over this connection that others may not read",
        "unknown: nothing shows where the connection ends",
    )
