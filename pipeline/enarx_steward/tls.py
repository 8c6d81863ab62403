"""The certificate of the Steward's own listener where the operator gives none: one under the Steward's own root."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import state
from .errors import ConfigurationError
from .grants import Grant
from .root import INTERMEDIATE_MARGIN, Root, key_pem, key_usage

FILE: Final = "tls.pem"
NAME: Final = "Steward TLS"
"""Common name of the intermediate: its key signs one certificate and is forgotten."""


class Own:
    """A certificate under the Steward's own root, for the host in its audience; made anew before it ends."""

    def __init__(self, directory: Path, audience: str) -> None:
        self._directory = directory
        self._grant = _grant(audience)

    def read(self, now: datetime) -> bytes:
        """The one that is stored, as long as that is good for two weeks more; else a new one."""
        root = state.load_root(self._directory, now)
        path = self._directory / FILE
        if path.exists():
            pem = state.read_secret(path)
            if self._lasts(pem, root, now):
                return pem
        pem = issue(root, self._grant, now)
        state.write(path, pem, 0o600)
        return pem

    def _lasts(self, pem: bytes, root: Root, now: datetime) -> bool:
        try:
            leaf, intermediate, *above = x509.load_pem_x509_certificates(pem)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound):
            return False
        end = leaf.not_valid_after_utc
        return (
            intermediate.issuer == root.issuing.subject
            and above == _sent(root)
            and list(names) == list(_names(self._grant))
            and leaf.not_valid_before_utc <= now < end
            and (end - now > INTERMEDIATE_MARGIN or end >= root.ends(now))
        )


def issue(root: Root, grant: Grant, now: datetime) -> bytes:
    """A TLS server's key and chain (PEM), under an intermediate whose key is forgotten."""
    signer, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    intermediate = root.certify(signer.public_key(), subject, [grant], now)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(intermediate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(intermediate.not_valid_before_utc)
        .not_valid_after(intermediate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(key_usage("digital_signature"), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(_names(grant), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        .sign(signer, SHA256())
    )
    chain = [leaf, intermediate, *_sent(root)]
    return key_pem(key) + b"".join(one.public_bytes(Encoding.PEM) for one in chain)


def _sent(root: Root) -> list[x509.Certificate]:
    """What is sent of the path above a root: all but the other root, which a client has."""
    return list(root.above[:-1])


def _grant(audience: str) -> Grant:
    parts = urlsplit(audience)
    host = parts.hostname or ""
    if parts.scheme != "https":
        raise ConfigurationError(
            f"`ca.audience` is {audience}, and for other machines this Steward speaks TLS",
            hint="let it begin with https://, or ask for --insecure-http",
        )
    try:
        return Grant(dns_names=(), addresses=(ip_address(host),), lifetime=timedelta())
    except ValueError:
        return Grant(dns_names=(host,), addresses=(), lifetime=timedelta())


def _names(grant: Grant) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([*map(x509.DNSName, grant.dns_names), *map(x509.IPAddress, grant.addresses)])
