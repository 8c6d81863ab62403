"""Renewal: a new certificate for a Keep that had one. Everything is appraised anew, and the Keep stays what it was.

The old certificate is public, and showing it proves nothing of who shows it: it only narrows what is issued.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from cryptography import x509

from enarx_attestation import Sheet, claims_extension
from enarx_attestation.claims_extension import KeepClaims
from enarx_attestation.strangers import NOT_ISSUED, UNREADABLE, read_certificate

from .ca import Authority
from .errors import MalformedRequest
from .policy import StewardPolicy
from .workload import Workload

MAX_CERTIFICATE: Final = 1 << 16
"""Most bytes of one certificate of a chain."""
MAX_CHAIN: Final = 8
"""Most certificates of a chain."""


class Previous(msgspec.Struct, frozen=True):
    """The certificate that is to be renewed, its issuer, and what it claims. Nothing about it is verified."""

    leaf: x509.Certificate
    issuer: x509.Certificate
    claims: KeepClaims


def read(chain: Sequence[bytes]) -> Previous:
    """Read a chain as it was issued (DER, leaf first). Raises `MalformedRequest`."""
    if not 2 <= len(chain) <= MAX_CHAIN or any(len(der) > MAX_CERTIFICATE for der in chain):
        raise MalformedRequest(f"the chain to renew has 2 to {MAX_CHAIN} certificates, leaf first")
    try:
        leaf, issuer = map(read_certificate, chain[:2])
        extension = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(claims_extension.OID))
        assert isinstance(extension.value, x509.UnrecognizedExtension)  # noqa: S101 — the library knows no such one
        claims = claims_extension.decode(extension.value.value).claims
    except UNREADABLE as exc:
        raise MalformedRequest(f"the chain to renew is not one that a Steward issued: {exc}") from exc
    return Previous(leaf, issuer, claims)


def check_previous(
    previous: Previous, authority: Authority, policy: StewardPolicy, now: datetime, sheet: Sheet
) -> None:
    """Check that this Steward's root stands behind the certificate, and that it has not ended too long ago."""
    genuine = _issued(previous, authority)
    sheet.check(
        "renewal.certificate", genuine, "issued under this Steward's root", "so it is" if genuine else "by another"
    )
    first, last = previous.leaf.not_valid_before_utc, previous.leaf.not_valid_after_utc + policy.renewal_grace
    sheet.check("renewal.age", first <= now <= last, f"{first} to {last}", now)


def check_same(previous: Previous, found: Workload, sheet: Sheet) -> None:
    """Check that the evidence is of the same kind and package as the certificate."""
    known = previous.claims
    sheet.check("renewal.backend", found.kind == known.backend, known.backend, found.kind)
    sheet.check("renewal.package", found.package == known.package, known.package, found.package)


def _issued(previous: Previous, authority: Authority) -> bool:
    """Whether the leaf was issued by an intermediate of the root's, also one of an earlier policy."""
    try:
        constraints = previous.leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        previous.leaf.verify_directly_issued_by(previous.issuer)
    except NOT_ISSUED:
        return False
    root = authority.root
    roots = (root.certificate, *root.above)  # of which one may be the root that this one took the place of
    return not constraints.ca and any(_directly_issued(previous.issuer, root) for root in roots)


def _directly_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except NOT_ISSUED:
        return False
    return True
