"""How a Drawbridge server is to run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from enarx_service.sockets import LOOPBACK
from enarx_service.transport import transport

from .errors import ConfigurationError
from .policy import FILE

DEFAULT_PORT = 8080
"""Drawbridge's own."""
Transport = Literal["loopback-http", "insecure-http", "tls"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is to run."""

    store: Path
    policy: Path | None = None
    """Default: `drawbridge.toml` in the store."""
    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    tls_certificate: Path | None = None
    """The operator's certificate for TLS (PEM), with `tls_key`."""
    tls_key: Path | None = None
    metrics: tuple[str, int] | None = None
    """Address and port where metrics are served, in plain HTTP; default: nowhere."""
    insecure_http: bool = False
    """Whether plain HTTP will do for other machines too."""

    @property
    def transport(self) -> Transport:
        """How it is spoken to. Raises `ConfigurationError` if the options exclude each other."""
        found = transport(self.host, self.tls_certificate, self.tls_key, insecure_http=self.insecure_http)
        if found != "unsaid":
            return found
        raise ConfigurationError(
            f"for other machines, on {self.host}, a registry speaks TLS",
            hint="give --tls-cert and --tls-key, or ask for --insecure-http: tokens then go in clear",
        )

    @property
    def policy_path(self) -> Path:
        """Where the policy is."""
        return self.policy or self.store / FILE


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A server that accepts connections."""

    pid: int
    url: str
    store: str
    policy_path: str
    transport: Transport
    metrics_url: str = ""
    """Empty if it serves none."""
