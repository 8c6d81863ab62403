"""TLS on a service's own listener. Certificate and key are taken up anew while it serves.

A handshake uses what there is when it begins, and connections stay.
"""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from .errors import ConfigurationError

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


class Listener:
    """The context of the listener: TLS 1.3 and nothing else.

    With `client_roots` (PEM) a client may show a certificate, and then it must be good under one of them.
    """

    def __init__(self, source: Source, directory: Path, now: datetime, *, client_roots: str = "") -> None:
        self._source = source
        self._directory = directory
        self._loaded = b""
        self.context = _context()
        if client_roots:
            _ask_clients(self.context, client_roots)
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


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def _ask_clients(context: ssl.SSLContext, roots: str) -> None:
    try:
        context.load_verify_locations(cadata=roots)
    except ssl.SSLError as exc:
        raise ConfigurationError(
            "the roots for clients' certificates cannot be read: they are PEM",
            hint="-----BEGIN CERTIFICATE-----, one after the other",
        ) from exc
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT


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
        raise ConfigurationError(f"{path}: {exc.strerror}", hint="is the path right, and may you read it?") from exc
    if len(data) > MAX_FILE:
        raise ConfigurationError(f"{path}: more than {MAX_FILE} bytes", hint="is this the right file?")
    return data
