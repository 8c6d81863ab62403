"""The service's own certificate: what it says, and the questions that it must answer by itself."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from enarx_attestation import claims_extension, oids
from enarx_attestation.claims_extension import Extension, KeepClaims
from enarx_attestation.strangers import read_certificate
from enarx_deploy.verification.checks import printable

Answer = tuple[bool, str]
T = TypeVar("T", bound=x509.ExtensionType)

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_SPIFFE: Final = "spiffe://"


class Unreadable(ValueError):
    """The certificate cannot be read."""


class Leaf:
    """A certificate that was read. `claims` is None where it has none that can be read, and `claims_fault` says why."""

    def __init__(self, der: bytes) -> None:
        self._certificate = read_certificate(der)
        self._extensions = self._certificate.extensions
        self.sha256 = hashlib.sha256(der).hexdigest()
        self.not_before = self._certificate.not_valid_before_utc
        self.not_after = self._certificate.not_valid_after_utc
        self.issuer = printable(self._certificate.issuer.rfc4514_string())
        self.key = self._certificate.public_key()
        names = self._find(x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])
        self.dns_names = names.get_values_for_type(x509.DNSName)
        self.addresses = names.get_values_for_type(x509.IPAddress)
        self.uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        self.attested, self.claims_fault = self._read_claims()
        self.claims = None if self.attested is None else self.attested.claims

    @property
    def key_name(self) -> str:
        """The kind of the key, such as `ECDSA secp256r1`."""
        return f"ECDSA {self.key.curve.name}" if isinstance(self.key, ec.EllipticCurvePublicKey) else "not ECDSA"

    @property
    def says_nothing_of_a_keep(self) -> bool:
        """Whether it has no claims at all, as certificates that no Steward issued; bad ones are another matter."""
        return self._unrecognised(claims_extension.OID) is None

    def is_valid(self, at: datetime) -> Answer:
        """Whether `at` is within its life."""
        return self.not_before <= at < self.not_after, f"from {moment(self.not_before)} to {moment(self.not_after)}"

    def is_for(self, name: str) -> Answer:
        """Whether it is for a DNS name or an IP address, named in full: no wildcards, and never by its subject."""
        named = [*self.dns_names, *(str(address) for address in self.addresses)]
        return self._names(name), f"for {', '.join(named) or 'no name'}; asked for {name}"

    def is_for_servers(self) -> Answer:
        """Whether key usage, extended key usage and basic constraints are those of a TLS server."""
        usage = self._find(x509.KeyUsage)
        extended = self._find(x509.ExtendedKeyUsage)
        constraints = self._find(x509.BasicConstraints)
        faults = [
            fault
            for fault, is_one in (
                ("not for signatures", usage is None or not usage.digital_signature),
                ("for signing certificates", usage is not None and usage.key_cert_sign),
                ("not for TLS servers", extended is None or ExtendedKeyUsageOID.SERVER_AUTH not in extended),
                ("an authority's", constraints is None or constraints.ca),
            )
            if is_one
        ]
        return not faults, ", ".join(faults) or "a TLS server's, and no authority's"

    def has_known_key(self) -> Answer:
        """Whether its key is on one of the curves that Keeps use."""
        known = isinstance(self.key, ec.EllipticCurvePublicKey) and isinstance(self.key.curve, _CURVES)
        return known, self.key_name

    def marking_agrees(self, found: KeepClaims) -> Answer:
        """Whether Enarx's marking of Keeps without hardware says the same as the claims."""
        value = self._unrecognised(oids.NIL)
        marked = value is not None
        said = "marked as without hardware protection" if marked else "not marked as without hardware protection"
        claimed = "with" if found.hardware else "without"
        return marked is not found.hardware and value in (None, b""), f"{said}; the claims say {claimed} hardware"

    def spiffe_agrees(self, found: KeepClaims) -> Answer:
        """Whether the one SPIFFE URI ends in the claims' package; where they name none, there is none."""
        uris = [uri for uri in self.uris if uri.startswith(_SPIFFE)]
        if found.package is None:
            return not uris, "none, since no package is named" if not uris else ", ".join(uris)
        path = "/package/" + found.package.replace(":", "/")
        agrees = len(uris) == 1 and uris[0].removeprefix(_SPIFFE).partition("/")[2] == path[1:]
        return agrees, ", ".join(uris) or "none"

    def facts(self) -> dict[str, object]:
        """What programs want to know of it."""
        return {
            "sha256": self.sha256,
            "issuer": self.issuer,
            "names": [*self.dns_names, *(str(address) for address in self.addresses), *self.uris],
            "not_before": moment(self.not_before),
            "not_after": moment(self.not_after),
            "key": self.key_name,
        }

    def _names(self, name: str) -> bool:
        try:
            return ip_address(name) in self.addresses
        except ValueError:
            return name.lower().rstrip(".") in (known.lower() for known in self.dns_names)

    def _read_claims(self) -> tuple[Extension | None, str]:
        value = self._unrecognised(claims_extension.OID)
        if value is None:
            return None, "the certificate does not say that anything was attested"
        try:
            return claims_extension.decode(value), ""
        except claims_extension.Malformed as error:
            return None, str(error)

    def _find(self, kind: type[T]) -> T | None:
        try:
            return self._extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    def _unrecognised(self, dotted: str) -> bytes | None:
        for extension in self._extensions:
            if extension.oid.dotted_string == dotted:
                value = extension.value
                return value.value if isinstance(value, x509.UnrecognizedExtension) else b"?"
        return None


def read_leaf(der: bytes) -> Leaf:
    """Read a certificate. Raises Unreadable."""
    try:
        return Leaf(der)
    except _UNREADABLE as error:
        raise Unreadable(f"the certificate cannot be read: {error}") from error


def moment(at: datetime) -> str:
    """A time in RFC 3339, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
