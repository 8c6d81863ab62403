"""What the issuance log says of a decision: what was issued or released, or which checks refused the evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import Verdict
from enarx_attestation.claims_extension import KeepClaims

from .errors import Refused

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Protocol = Literal["v1", "enarx"]


class Issued(msgspec.Struct, frozen=True, kw_only=True, tag_field="decision", tag="issued"):
    """A certificate was issued."""

    protocol: Protocol
    serial: str
    """In hexadecimal."""
    certificate_sha256: Sha256
    key_sha256: Sha256
    """Digest of the public key (SubjectPublicKeyInfo)."""
    names: tuple[str, ...]
    not_after: str
    backend: str
    status: str
    package: str | None
    evidence_sha256: Sha256 | None
    policy_sha256: Sha256
    renewal_of: Sha256 | None = None
    """Digest of the certificate whose place this one takes."""


class NotIssued(msgspec.Struct, frozen=True, kw_only=True, tag_field="decision", tag="refused"):
    """Evidence was appraised and refused."""

    protocol: Protocol
    backend: str | None
    """The kind of evidence that the requester says it is."""
    checks: tuple[str, ...]
    """Ids of the checks that failed."""
    evidence_sha256: Sha256
    """Of the evidence; in Enarx's protocol, of the certificate request that carries it."""
    policy_sha256: Sha256


class SecretsReleased(msgspec.Struct, frozen=True, kw_only=True, tag_field="decision", tag="released"):
    """Secrets were released, sealed to a key."""

    protocol: Protocol
    secrets: tuple[str, ...]
    """Their names."""
    key_sha256: Sha256
    """Digest of the key that they are sealed to (SubjectPublicKeyInfo)."""
    backend: str
    status: str
    package: str
    evidence_sha256: Sha256
    policy_sha256: Sha256


Decision = Issued | NotIssued | SecretsReleased


def issued(certificate: bytes, claims: KeepClaims, protocol: Protocol, *, renewed: bytes | None = None) -> Issued:
    """The decision that led to a certificate (DER), which takes the place of `renewed`."""
    leaf = x509.load_der_x509_certificate(certificate)
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Issued(
        protocol=protocol,
        serial=f"{leaf.serial_number:x}",
        certificate_sha256=hashlib.sha256(certificate).hexdigest(),
        key_sha256=hashlib.sha256(key).hexdigest(),
        names=tuple(_names(leaf)),
        not_after=leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        backend=claims.backend,
        status=claims.status,
        package=claims.package,
        evidence_sha256=claims.evidence_sha256,
        policy_sha256=claims.policy_sha256,
        renewal_of=None if renewed is None else hashlib.sha256(renewed).hexdigest(),
    )


def released(
    names: Sequence[str], key: bytes, verdict: Verdict, package: str, evidence: bytes, policy_sha256: str
) -> SecretsReleased:
    """The decision to seal secrets to a key (DER)."""
    return SecretsReleased(
        protocol="v1",
        secrets=tuple(names),
        key_sha256=hashlib.sha256(key).hexdigest(),
        backend=verdict.kind,
        status=verdict.status,
        package=package,
        evidence_sha256=hashlib.sha256(evidence).hexdigest(),
        policy_sha256=policy_sha256,
    )


def refused(why: Refused, protocol: Protocol, backend: str | None, evidence: bytes, policy_sha256: str) -> NotIssued:
    """The decision against some evidence."""
    return NotIssued(
        protocol=protocol,
        backend=backend,
        checks=why.failed,
        evidence_sha256=hashlib.sha256(evidence).hexdigest(),
        policy_sha256=policy_sha256,
    )


def _names(leaf: x509.Certificate) -> Iterator[str]:
    for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value:
        yield str(name.value)
