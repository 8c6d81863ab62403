"""The certification authority: one P-256 key, one self-signed root, and leaves that say what was attested (RFC 5280).

Nothing in a leaf but its public key comes from the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx_attestation import claims_extension, oids
from enarx_attestation.claims_extension import CertifiedEvidence, KeepClaims

from .errors import ConfigurationError
from .policy import Grant

ROOT_NAME: Final = "Steward root"
ROOT_LIFETIME: Final = timedelta(days=3652)
"""Ten years. Clients pin the root by hand, so its end is a day on which all of them must act at once; what is
short-lived is what the root signs."""
ROOT_PATH_LENGTH: Final = 1
"""Room for one intermediate below the root, so that clients need not pin anew when one comes."""
ROOT_BACKDATE: Final = timedelta(minutes=5)
LEAF_BACKDATE: Final = timedelta(minutes=1)
"""Clocks of clients may be this much behind."""
COMMON_NAME_MAX: Final = 64

_MARKING: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.NIL), b"")
_CLAIMS_OID: Final = x509.ObjectIdentifier(claims_extension.OID)
_USAGE: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate is to say."""

    key: ec.EllipticCurvePublicKey
    claims: KeepClaims
    grant: Grant
    trust_domain: str
    evidence: CertifiedEvidence | None = None
    """What a relying party can appraise itself."""


class Authority:
    """A key and its root certificate. Safe to use from many threads: it does not change."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, root: x509.Certificate) -> None:
        self._key = key
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        self.root = root
        self.root_der = root.public_bytes(Encoding.DER)
        self.root_pem = root.public_bytes(Encoding.PEM).decode()

    @classmethod
    def create(cls, now: datetime, *, name: str = ROOT_NAME) -> Authority:
        """A new authority with a new key; `name` begins the root's common name, at most 40 characters."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _make_root(key, now, name))

    @classmethod
    def from_pem(cls, key_pem: bytes, root_pem: bytes, now: datetime) -> Authority:
        """An authority as it was stored. Raises `ConfigurationError` if key and root do not fit, or the root ended."""
        key = _read_key(key_pem)
        try:
            root = x509.load_pem_x509_certificate(root_pem)
            root.verify_directly_issued_by(root)
            constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (ValueError, TypeError, x509.ExtensionNotFound) as exc:
            raise ConfigurationError("the root certificate cannot be read, or is not one") from exc
        if root.public_key() != key.public_key() or not constraints.ca:
            raise ConfigurationError("the root certificate is not that of the key")
        if not root.not_valid_before_utc <= now < root.not_valid_after_utc:
            raise ConfigurationError(
                f"the root certificate is valid from {root.not_valid_before_utc:%F} to {root.not_valid_after_utc:%F}",
                hint="is the clock right? A new root is made when key and root are moved away; clients must pin it",
            )
        return cls(key, root)

    def issue(self, leaf: Leaf, now: datetime) -> bytes:
        """Sign a certificate; returns its DER. It ends with the root if that is sooner."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(leaf))
            .issuer_name(self.root.subject)
            .public_key(leaf.key)
            .serial_number(x509.random_serial_number())  # 159 random bits
            .not_valid_before(max(now - LEAF_BACKDATE, self.root.not_valid_before_utc))
            .not_valid_after(min(now + leaf.grant.lifetime, self.root.not_valid_after_utc))
        )
        for extension, critical in self._leaf_extensions(leaf):
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.DER)

    def _leaf_extensions(self, leaf: Leaf) -> Iterator[tuple[x509.ExtensionType, bool]]:
        yield x509.BasicConstraints(ca=False, path_length=None), True
        yield _key_usage("digital_signature"), True
        yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
        yield x509.SubjectAlternativeName(list(_names(leaf))), False
        yield x509.SubjectKeyIdentifier.from_public_key(leaf.key), False
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), False
        if not leaf.claims.hardware:
            yield _MARKING, False
        yield x509.UnrecognizedExtension(_CLAIMS_OID, claims_extension.encode(leaf.claims, leaf.evidence)), False


def new_key_pem() -> bytes:
    """A new private key, PKCS#8 in PEM: a secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_root_pem(key_pem: bytes, now: datetime) -> bytes:
    """A new root certificate for a key, in PEM. Raises `ConfigurationError` if the key cannot be read."""
    return _make_root(_read_key(key_pem), now, ROOT_NAME).public_bytes(Encoding.PEM)


def spiffe_id(trust_domain: str, package: str) -> str:
    """The URI that names a package: `spiffe://<trust domain>/package/sha256/<hex>`."""
    return f"spiffe://{trust_domain}/package/{package.replace(':', '/')}"


def protection(keep: KeepClaims) -> str:
    """What the subject says of the Keep, for people who read certificates."""
    return f"{keep.backend} Keep" if keep.hardware else f"{keep.backend} Keep: no hardware protection"


def _make_root(key: ec.EllipticCurvePrivateKey, now: datetime, name: str) -> x509.Certificate:
    """The self-signed root of a key. Its name holds the key's identifier, so that no two roots have one name."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {identifier.digest.hex()[:16]}")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - ROOT_BACKDATE)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=ROOT_PATH_LENGTH), True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), True)
        .add_extension(identifier, False)
        .sign(key, SHA256())
    )


def _read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as exc:
        raise ConfigurationError("the key is not an unencrypted PKCS#8 key in PEM") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigurationError("the key is not on P-256")
    return key


def _subject(leaf: Leaf) -> x509.Name:
    common_name = next(iter(leaf.grant.dns_names), "")
    attributes = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, protection(leaf.claims))]
    if 0 < len(common_name) <= COMMON_NAME_MAX:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _names(leaf: Leaf) -> Iterator[x509.GeneralName]:
    yield from map(x509.DNSName, leaf.grant.dns_names)
    yield from map(x509.IPAddress, leaf.grant.addresses)
    if leaf.claims.package is not None:
        yield x509.UniformResourceIdentifier(spiffe_id(leaf.trust_domain, leaf.claims.package))


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGE})
