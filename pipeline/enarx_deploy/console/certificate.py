"""The console's own TLS: an authority kept in the state directory, and a certificate for each start.

Whoever has a browser trust that authority gives little away: it can certify names of this machine alone (RFC 5280,
section 4.2.1.10), so that its key, were it stolen, makes no certificate for another site.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx_deploy import paths
from enarx_deploy.errors import UsageError
from enarx_files.turns import turn

ROOT_FILE: Final = "root.pem"
_KEY_FILE: Final = "root.key"
_AUTHORITY_LIFE: Final = timedelta(days=365)
_MARGIN: Final = timedelta(days=30)
"""An authority that ends sooner is made anew."""
_LIFE: Final = timedelta(days=30)
_SKEW: Final = timedelta(hours=1)
_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class _Authority(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class Own:
    """A source of certificate and key for the listener, for `localhost`, the loopback addresses and `host`."""

    def __init__(self, directory: Path, host: str) -> None:
        """Keep the authority in `directory`. Raises UsageError."""
        self._host = host
        with turn(directory / ROOT_FILE):  # of two consoles that begin, one makes it
            self._authority = _load(directory, datetime.now(UTC), host)

    def read(self, now: datetime) -> bytes:
        """Key and chain (PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = self._authority
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), *(x509.IPAddress(one) for one in _addresses(self._host))]
        )
        leaf = (
            _begin(_name("enarx-deploy console"), authority.certificate.subject, key.public_key(), now, _LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(_usage("digital_signature"), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(names, False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False)
            .sign(authority.key, SHA256())
        )
        return _key_pem(key) + leaf.public_bytes(Encoding.PEM)


def _load(directory: Path, now: datetime, host: str) -> _Authority:
    key_path, root_path = directory / _KEY_FILE, directory / ROOT_FILE
    try:
        key = load_pem_private_key(key_path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(root_path.read_bytes())
        permitted = certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    except FileNotFoundError:
        return _make(directory, now, host)
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise UsageError(f"{directory}: the console's authority cannot be read", hint="remove the directory") from error
    ends_soon = certificate.not_valid_after_utc - now < _MARGIN
    if not isinstance(key, ec.EllipticCurvePrivateKey) or ends_soon or permitted != _constraints(host):
        return _make(directory, now, host)
    return _Authority(key, certificate)


def _make(directory: Path, now: datetime, host: str) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("enarx-deploy console, for this machine alone")
    certificate = (
        _begin(subject, subject, key.public_key(), now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_usage("key_cert_sign"), True)
        .add_extension(x509.NameConstraints(_constraints(host), None), True)
        .sign(key, SHA256())
    )
    paths.write_atomically(directory / _KEY_FILE, _key_pem(key))
    paths.write_atomically(directory / ROOT_FILE, certificate.public_bytes(Encoding.PEM), mode=0o644)
    return _Authority(key, certificate)


def _constraints(host: str) -> list[x509.GeneralName]:
    """The names of this machine, and the one address of others' that it listens on."""
    networks: list[IPv4Network | IPv6Network] = [IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")]
    known: list[x509.GeneralName] = [x509.DNSName("localhost"), *(x509.IPAddress(one) for one in networks)]
    address = ip_address(host)
    if not address.is_loopback:
        known.append(x509.IPAddress(IPv6Network(address) if address.version == 6 else IPv4Network(address)))
    return known


def _addresses(host: str) -> list[IPv4Address | IPv6Address]:
    found = [ip_address(one) for one in ("127.0.0.1", "::1", host)]
    return list(dict.fromkeys(found))


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
