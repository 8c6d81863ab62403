"""How a Steward is to run, and the names that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from enarx_service.sockets import LOOPBACK, is_loopback

from . import state
from .errors import ConfigurationError
from .policy import StewardPolicy

Transport = Literal["loopback-http", "insecure-http", "given-tls", "own-tls"]
"""Plain HTTP on this machine, or for others too; TLS with the operator's certificate, or under the own root."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a Steward is to run. Without `port` it takes its last one where that is free, and else any."""

    state: Path
    policy: Path | None = None
    """Default: `steward.toml` in the state directory."""
    host: str = LOOPBACK
    port: int | None = None
    database: str = ""
    """URL of the database; default: that of the policy, and else a file in the state directory."""
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
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key go together")
        if self.tls_certificate is not None:
            if self.insecure_http:
                raise ConfigurationError("--insecure-http and --tls-cert exclude each other")
            return "given-tls"
        if is_loopback(self.host):
            return "loopback-http"
        return "insecure-http" if self.insecure_http else "own-tls"

    @property
    def policy_path(self) -> Path:
        """Where the policy is."""
        return self.policy or self.state / state.POLICY


def audience_of(policy: StewardPolicy, host: str, url: str) -> str:
    """The name by which Keeps know a Steward. Raises `ConfigurationError` if it needs one and has none."""
    if policy.audience:
        return policy.audience
    if not is_loopback(host):
        raise ConfigurationError(
            f"a Steward that listens on {host} needs a name for its evidence",
            hint='[ca] audience = "https://…" in the policy: the URL that manifests name as `steward`',
        )
    return url
