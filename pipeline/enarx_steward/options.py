"""How a Steward is to run, and the names that follow from it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

import msgspec

from . import state
from .errors import ConfigurationError
from .policy import StewardPolicy

LOOPBACK: Final = "127.0.0.1"
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


def parse_listen(text: str) -> tuple[str, int]:
    """Read `HOST:PORT` or `[HOST]:PORT`, where HOST is an IP address or `localhost`. Raises `ConfigurationError`."""
    host, _, port = text.rpartition(":")
    host = LOOPBACK if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigurationError(f"{text!r} is not an IP address and a port", hint="such as 127.0.0.1:3000 or [::1]:0")
    return host, number


def is_loopback(host: str) -> bool:
    """Whether an IP address is reached from this machine only."""
    return ip_address(host).is_loopback


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
