"""How a Drawbridge server is to run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from enarx_service.listener_options import ListenerOptions

from .errors import ConfigurationError
from .policy import FILE

DEFAULT_PORT = 8080
"""Drawbridge's own."""
Transport = Literal["loopback-http", "insecure-http", "tls"]


class Options(ListenerOptions, frozen=True, kw_only=True):
    """How it is to run."""

    store: Path
    policy: Path | None = None
    """Default: `drawbridge.toml` in the store."""

    @property
    def transport(self) -> Transport:
        """How it is spoken to. Raises `ConfigurationError` if the options exclude each other."""
        found = self.said
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
