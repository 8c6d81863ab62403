"""TLS on the Steward's own listener: with the operator's certificate, or with one under the Steward's own root.

Both are taken up anew while it serves; a handshake uses what there is when it begins, and connections stay.
"""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import state
from .errors import ConfigurationError
from .policy import Grant
from .root import INTERMEDIATE_MARGIN, Root, key_pem, key_usage

FILE: Final = "tls.pem"
NAME: Final = "Steward TLS"
"""Common name of the intermediate: its key signs one certificate and is forgotten."""
MAX_FILE: Final = 1 << 20
_PREFIX: Final = ".tls."


class Source(Protocol):
    """Where certificate and key come from."""

    def read(self, now: datetime) -> bytes:
        """Key and chain (PEM) as they should be in use now. Raises `ConfigurationError`."""
        ...


class Given:
    """The operator's files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key

    def read(self, now: datetime) -> bytes:  # noqa: ARG002 — the protocol's shape
        """What the files hold."""
        return _read(self._key, secret=True) + b"\n" + _read(self._certificate, secret=False)


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
            leaf, intermediate, *_ = x509.load_pem_x509_certificates(pem)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound):
            return False
        end = leaf.not_valid_after_utc
        return (
            intermediate.issuer == root.issuing.subject
            and list(names) == list(_names(self._grant))
            and leaf.not_valid_before_utc <= now < end
            and (end - now > INTERMEDIATE_MARGIN or end >= root.ends(now))
        )


class Listener:
    """The context of the listener: TLS 1.3 and nothing else."""

    def __init__(self, source: Source, directory: Path, now: datetime) -> None:
        self._source = source
        self._directory = directory
        self._loaded = b""
        self.context = _context()
        self.refresh(now)

    def refresh(self, now: datetime) -> bool:
        """Take up certificate and key if they changed; returns whether they did. Raises `ConfigurationError`."""
        pem = self._source.read(now)
        if pem == self._loaded:
            return False
        with tempfile.NamedTemporaryFile(dir=self._directory, prefix=_PREFIX) as file:  # with mode 0600
            file.write(pem)
            file.flush()
            _load(_context(), Path(file.name))  # tried first: the one in use is changed as a whole or not at all
            _load(self.context, Path(file.name))
        self._loaded = pem
        return True


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
    chain = [leaf, intermediate, *root.above[:-1]]
    return key_pem(key) + b"".join(one.public_bytes(Encoding.PEM) for one in chain)


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


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_cert_chain(path, password=_refuse_password)
    except (ssl.SSLError, OSError) as exc:
        reason = (getattr(exc, "reason", None) or str(exc)).replace("_", " ").lower()
        raise ConfigurationError(
            f"certificate and key for TLS cannot be used: {reason}",
            hint="--tls-cert is a PEM file with the server's certificate first, --tls-key its key without a password",
        ) from exc


def _refuse_password() -> str:
    raise ConfigurationError("the key for TLS has a password", hint="give it without one, in a file for you alone")


def _read(path: Path, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if secret and os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                raise ConfigurationError(f"{path}: everybody could use the key", hint=f"chmod o= {path}")
            data = file.read(MAX_FILE + 1)
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}") from exc
    if len(data) > MAX_FILE:
        raise ConfigurationError(f"{path}: more than {MAX_FILE} bytes")
    return data
