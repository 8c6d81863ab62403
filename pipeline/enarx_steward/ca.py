"""The intermediate of a policy, and the leaves that it signs, which say what was attested (RFC 5280).

Nothing in a leaf but its public key comes from the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx_attestation import claims_extension, oids
from enarx_attestation.claims_extension import CertifiedEvidence, KeepClaims

from .errors import ConfigurationError
from .grants import Grant
from .policy import StewardPolicy
from .root import INTERMEDIATE_MARGIN, Root, key_pem, key_usage, read_key

LEAF_BACKDATE: Final = timedelta(minutes=1)
"""Clocks of clients may be this much behind."""
COMMON_NAME_MAX: Final = 64

_MARKING: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.NIL), b"")
_CLAIMS_OID: Final = x509.ObjectIdentifier(claims_extension.OID)


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate is to say."""

    key: ec.EllipticCurvePublicKey
    claims: KeepClaims
    grant: Grant
    trust_domain: str
    evidence: CertifiedEvidence | None = None
    """What a relying party can appraise itself."""


class Authority:
    """An intermediate: a key, its certificate, and what is above it. Signs the leaves of one policy.

    Safe to use from many threads: it does not change. `predecessors` are those that came before it from the same
    files, and whose leaves may still be in use.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        root: Root,
        predecessors: tuple[Authority, ...] = (),
    ) -> None:
        self._key = key
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        self.certificate = certificate
        self.root = root
        self.predecessors = predecessors
        self.issuers = (certificate.public_bytes(Encoding.DER), *root.path)

    @classmethod
    def create(cls, root: Root, policy: StewardPolicy, now: datetime) -> Authority:
        """A new intermediate for a policy, with a new key. Raises `ConfigurationError` if the root cannot sign."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, root.certify(key.public_key(), policy_subject(policy), policy.every_grant, now), root)

    @classmethod
    def from_pem(cls, pem: bytes, root: Root) -> Authority:
        """An intermediate as `to_pem` wrote it. Raises `ConfigurationError` if its parts do not fit."""
        key = read_key(pem)
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        except (ValueError, x509.ExtensionNotFound) as exc:
            raise ConfigurationError("there is no intermediate certificate after the key") from exc
        if certificate.public_key() != key.public_key():
            raise ConfigurationError("the intermediate certificate is not that of the key")
        return cls(key, certificate, root)

    def after(self, known: Iterable[Authority]) -> Authority:
        """The same one, with its predecessors: all that are known but itself."""
        others = tuple(one for one in known if one.certificate != self.certificate)
        return Authority(self._key, self.certificate, self.root, others)

    def named(self, digest: str | None) -> Authority:
        """The predecessor whose certificate has this digest ("sha256:" and hex); this one where none has."""
        return next((one for one in self.predecessors if one.digest == digest), self)

    @property
    def digest(self) -> str:
        """Of its certificate: "sha256:" and hex."""
        return f"sha256:{self.certificate.fingerprint(SHA256()).hex()}"

    def to_pem(self) -> bytes:
        """Key and certificate: a secret."""
        return key_pem(self._key) + self.certificate.public_bytes(Encoding.PEM)

    @property
    def policy_sha256(self) -> str:
        """Digest of the policy that it is for."""
        return policy_of(self.certificate)

    def lasts(self, now: datetime) -> bool:
        """Whether it can go on signing: valid, from the root as that is, and as long-lived as a new one would be."""
        end, certificate = self.certificate.not_valid_after_utc, self.certificate
        return (
            certificate.issuer == self.root.issuing.subject
            and certificate.not_valid_before_utc <= now < end
            and (end - now > INTERMEDIATE_MARGIN or end >= self.root.ends(now))
        )

    @property
    def root_pem(self) -> str:
        """The root that clients pin."""
        return self.root.pem

    def issue(self, leaf: Leaf, now: datetime) -> bytes:
        """Sign a certificate; returns its DER. It ends with the intermediate if that is sooner."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(leaf))
            .issuer_name(self.certificate.subject)
            .public_key(leaf.key)
            .serial_number(x509.random_serial_number())  # 159 random bits
            .not_valid_before(max(now - LEAF_BACKDATE, self.certificate.not_valid_before_utc))
            .not_valid_after(min(now + leaf.grant.lifetime, self.certificate.not_valid_after_utc))
        )
        for extension, critical in self._leaf_extensions(leaf):
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.DER)

    def sign(self, message: bytes) -> bytes:
        """Sign something that is no certificate: ECDSA with SHA-256, in DER. It must not begin with a SEQUENCE."""
        if message.startswith(b"\x30"):
            raise AssertionError("what is signed could be taken for a certificate")
        return self._key.sign(message, ec.ECDSA(SHA256()))

    def _leaf_extensions(self, leaf: Leaf) -> Iterator[tuple[x509.ExtensionType, bool]]:
        yield x509.BasicConstraints(ca=False, path_length=None), True
        yield key_usage("digital_signature"), True
        yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
        yield x509.SubjectAlternativeName(list(_names(leaf))), False
        yield x509.SubjectKeyIdentifier.from_public_key(leaf.key), False
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), False
        if not leaf.claims.hardware:
            yield _MARKING, False
        yield x509.UnrecognizedExtension(_CLAIMS_OID, claims_extension.encode(leaf.claims, leaf.evidence)), False


def policy_subject(policy: StewardPolicy) -> x509.Name:
    """The subject of a policy's intermediate, which names its digest."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Steward policy"),
            x509.NameAttribute(NameOID.COMMON_NAME, policy.sha256),
        ]
    )


def policy_of(intermediate: x509.Certificate) -> str:
    """The digest of the policy that an intermediate is for."""
    names = intermediate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def spiffe_id(trust_domain: str, package: str) -> str:
    """The URI that names a package: `spiffe://<trust domain>/package/sha256/<hex>`."""
    return f"spiffe://{trust_domain}/package/{package.replace(':', '/')}"


def protection(keep: KeepClaims) -> str:
    """What the subject says of the Keep, for people who read certificates."""
    return f"{keep.backend} Keep" if keep.hardware else f"{keep.backend} Keep: no hardware protection"


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
