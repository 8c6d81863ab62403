"""The root of the certification authority: it signs one intermediate for each policy, and nothing else (RFC 5280).

    root (pinned by clients, ten years)  ->  intermediate of a policy (30 days)  ->  leaf (at most 7 days)

A policy that changes gets an intermediate of its own; what the old one signed stays good until it ends. Above the root
there may be a path to another: to a corporate root, or to the root that this one takes the place of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from .errors import ConfigurationError
from .grants import Grant

ROOT_NAME: Final = "Steward root"
ROOT_LIFETIME: Final = timedelta(days=3652)
"""Ten years. Clients pin the root by hand, so its end is a day on which all of them must act at once; what is
short-lived is what the root signs."""
ROOT_PATH_LENGTH: Final = 2
"""Room for the intermediate of a policy and, when the root is replaced, for its successor above that."""
ROOT_BACKDATE: Final = timedelta(minutes=5)
INTERMEDIATE_LIFETIME: Final = timedelta(days=30)
INTERMEDIATE_MARGIN: Final = timedelta(days=14)
"""An intermediate with less left than this is replaced: twice the life of the longest leaf."""
MAX_PATH: Final = 5
"""Most certificates above the root's own key."""

_ROOT: Final = "a root certificate in PEM, signed by itself, by whose key the Steward signs"
_PAIR: Final = "give the certificate that was made with this key"
_NO_AUTHORITY: Final = (
    "ask who issued it for an authority's certificate, as `ca request` asks for: CA:TRUE, keyCertSign"
)
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


class Root:
    """A key and its self-signed certificate. Safe to use from many threads: it does not change.

    `above` is a path from another certificate of the same key up to another root; empty where there is none. `issuing`
    is the certificate whose name stands as the issuer in what is signed.
    """

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, above: Sequence[x509.Certificate] = ()
    ) -> None:
        self._key = key
        self.certificate = certificate
        self.above = tuple(above)
        self.issuing = self.above[0] if self.above else certificate
        self.pem = certificate.public_bytes(Encoding.PEM).decode()
        self.path = tuple(one.public_bytes(Encoding.DER) for one in self.above or (certificate,))

    @classmethod
    def create(cls, now: datetime, *, name: str = ROOT_NAME) -> Root:
        """A new root with a new key; `name` begins its common name, at most 40 characters."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, self_signed(key, now, name))

    @classmethod
    def from_pem(cls, key: ec.EllipticCurvePrivateKey, root_pem: bytes, above_pem: bytes, now: datetime) -> Root:
        """A root as it was stored. Raises `ConfigurationError` if the parts do not fit, or one is not valid now."""
        certificate = _read_root(root_pem)
        require_valid("the root certificate", certificate, now)
        return cls(key, certificate, read_path(above_pem, certificate, now) if above_pem else ())

    def require_own_key(self) -> None:
        """Raise `ConfigurationError` unless the key is that of the certificate. A key in a token is not at hand for it,
        and every signature is checked."""
        if self.certificate.public_key() != self._key.public_key():
            raise ConfigurationError("the root certificate is not that of the key", hint=_PAIR)

    @property
    def pems(self) -> list[str]:
        """The roots that clients may pin: this one, and the one above where there is one."""
        return [self.pem, *(one.public_bytes(Encoding.PEM).decode() for one in self.above[-1:])]

    def ends(self, now: datetime) -> datetime:
        """When an intermediate that is made now will end."""
        return min([now + INTERMEDIATE_LIFETIME, *(one.not_valid_after_utc for one in (self.certificate, *self.above))])

    def certify(
        self, key: ec.EllipticCurvePublicKey, subject: x509.Name, grants: Iterable[Grant], now: datetime
    ) -> x509.Certificate:
        """Sign an intermediate that can only sign leaves with the names of these grants.

        Raises `ConfigurationError` if the key cannot be used, or is not that of the root.
        """
        extensions = [(name_constraints(grants), True)]
        return self._sign(subject, key, path_length=0, until=self.ends(now), now=now, more=extensions)

    def below(self, above: Sequence[x509.Certificate]) -> Root:
        """The same root with a path above it."""
        return Root(self._key, self.certificate, above)

    def request(self) -> bytes:
        """A certificate request (PKCS#10 in PEM) for the key, as an authority with one level below it."""
        builder = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), True)
            .add_extension(key_usage("key_cert_sign", "crl_sign"), True)
        )
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def certify_successor(self, successor: x509.Certificate, now: datetime) -> x509.Certificate:
        """Sign the root that takes the place of this one, for clients that still pin this one."""
        key = successor.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 — roots have no others
        until = min(successor.not_valid_after_utc, self.certificate.not_valid_after_utc)
        return self._sign(successor.subject, key, path_length=ROOT_PATH_LENGTH - 1, until=until, now=now)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        path_length: int,
        until: datetime,
        now: datetime,
        more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.Certificate:
        identifier = self.issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _authority(subject, key, path_length, ("key_cert_sign",))
            .issuer_name(self.issuing.subject)
            .not_valid_before(max(now - ROOT_BACKDATE, self.certificate.not_valid_before_utc))
            .not_valid_after(until)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
        )
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        signed = builder.sign(self._key, SHA256())
        try:
            _public_key(self.certificate).verify(signed.signature, signed.tbs_certificate_bytes, ec.ECDSA(SHA256()))
        except InvalidSignature as exc:
            raise ConfigurationError("the root certificate is not that of the key", hint=_PAIR) from exc
        return signed


def new_key_pem() -> bytes:
    """A new private key, PKCS#8 in PEM: a secret."""
    return key_pem(ec.generate_private_key(ec.SECP256R1()))


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in PKCS#8 and PEM: a secret."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises `ConfigurationError` if it is not one on P-256, in the clear."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as exc:
        raise ConfigurationError(
            "the key is not an unencrypted PKCS#8 key in PEM",
            hint="PKCS#8 on P-256 is what `openssl genpkey` writes, and a Steward takes",
        ) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigurationError(
            "the key is not on P-256",
            hint="other curves are not for a Steward",
        )
    return key


def self_signed(key: ec.EllipticCurvePrivateKey, now: datetime, name: str = ROOT_NAME) -> x509.Certificate:
    """The self-signed root of a key. Its name holds the key's identifier, so that no two roots have one name."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {identifier.digest.hex()[:16]}")])
    return (
        _authority(subject, key.public_key(), ROOT_PATH_LENGTH, ("key_cert_sign", "crl_sign"))
        .issuer_name(subject)
        .not_valid_before(now - ROOT_BACKDATE)
        .not_valid_after(now + ROOT_LIFETIME)
        .sign(key, SHA256())
    )


def read_path(pem: bytes, root: x509.Certificate, now: datetime) -> tuple[x509.Certificate, ...]:
    """Read a path (PEM) from the root's key up to another root.

    1. The first certificate is of the root's key.
    2. Each is issued by the next, and the last by itself.
    3. Each is an authority that may sign certificates, with room for those below it.
    4. All are valid now.

    Raises `ConfigurationError`. Name constraints are left to a trial (see `trial`).
    """
    try:
        path = x509.load_pem_x509_certificates(pem)
    except ValueError as exc:
        raise ConfigurationError(
            "the chain is not a list of certificates in PEM", hint="-----BEGIN CERTIFICATE-----, this Steward's first"
        ) from exc
    if len(path) > MAX_PATH:
        raise ConfigurationError(
            f"the chain has {len(path)} certificates; at most {MAX_PATH} will do",
            hint="leave out what is not between this Steward's certificate and the root",
        )
    if path[0].public_key() != root.public_key():
        raise ConfigurationError(
            f"the chain begins with {_name(path[0])}, which is not for this Steward's key",
            hint="this Steward's own certificate comes first, then its issuer, and the root last",
        )
    for issued, issuer in [*pairwise(path), (path[-1], path[-1])]:
        _require_issued(issued, issuer)
    for below, certificate in enumerate(path):
        _require_authority(certificate, below + 1)
        require_valid(_name(certificate), certificate, now)
    return tuple(path)


def name_constraints(grants: Iterable[Grant]) -> x509.NameConstraints:
    """The names that leaves may have: DNS names and addresses.

    URIs are not constrained: rustls would refuse every leaf that has one.
    """
    grants = list(grants)
    dns_names = sorted({name for grant in grants for name in grant.dns_names})
    networks = sorted({str(ip_network(address)) for grant in grants for address in grant.addresses})
    permitted = [*map(x509.DNSName, dns_names), *(x509.IPAddress(ip_network(network)) for network in networks)]
    excluded: list[x509.GeneralName] = []
    if not dns_names:
        excluded.append(x509.DNSName(""))
    if not networks:
        excluded += [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
    return x509.NameConstraints(permitted or None, excluded or None)


def key_usage(*allowed: str) -> x509.KeyUsage:
    """The extension, with these bits set."""
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGE})


def require_valid(what: str, certificate: x509.Certificate, now: datetime) -> None:
    """Raise `ConfigurationError` unless a certificate is valid now."""
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise ConfigurationError(
            f"{what} is valid from {certificate.not_valid_before_utc:%F} to {certificate.not_valid_after_utc:%F}",
            hint="is the clock right? A new root is made when key and root are moved away; clients must pin it",
        )


def _authority(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, path_length: int, usage: Sequence[str]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
        .add_extension(key_usage(*usage), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _read_root(pem: bytes) -> x509.Certificate:
    try:
        root = x509.load_pem_x509_certificate(pem)
        root.verify_directly_issued_by(root)
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
        root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        _public_key(root)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as exc:
        raise ConfigurationError("the root certificate cannot be read, or is not one", hint=_ROOT) from exc
    if not constraints.ca:
        raise ConfigurationError("the root certificate is not an authority's", hint=_ROOT)
    return root


def _public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not a key on an elliptic curve")
    return key


def _require_issued(issued: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as exc:
        raise ConfigurationError(
            f"the chain is broken: {_name(issued)} was not issued by {_name(issuer)}",
            hint="each certificate is followed by its issuer's, and the last is a root",
        ) from exc


def _require_authority(certificate: x509.Certificate, below: int) -> None:
    """`below` is the number of authorities beneath it."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError) as exc:
        raise ConfigurationError(
            f"{_name(certificate)} lacks an extension that authorities have: {exc}", hint=_NO_AUTHORITY
        ) from exc
    if not constraints.ca or not usage.key_cert_sign:
        raise ConfigurationError(
            f"{_name(certificate)} is not an authority that may sign certificates", hint=_NO_AUTHORITY
        )
    if constraints.path_length is not None and constraints.path_length < below:
        raise ConfigurationError(
            f"{_name(certificate)} has the path length {constraints.path_length}, and {below} authorities are below it",
            hint="the Steward signs an intermediate for each policy, so that its own certificate needs 1 or more",
        )


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
