"""How a Steward is to run, and the names that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from enarx_service.listener_options import ListenerOptions
from enarx_service.sockets import is_loopback

from . import state
from .errors import ConfigurationError
from .policy import StewardPolicy

Transport = Literal["loopback-http", "insecure-http", "given-tls", "own-tls"]
"""Plain HTTP on this machine, or for others too; TLS with the operator's certificate, or under the own root."""
_TRANSPORTS: dict[str, Transport] = {
    "loopback-http": "loopback-http",
    "insecure-http": "insecure-http",
    "tls": "given-tls",
    "unsaid": "own-tls",
}


class Options(ListenerOptions, frozen=True, kw_only=True):
    """How a Steward is to run. Without `port` it takes its last one where that is free, and else any."""

    state: Path
    policy: Path | None = None
    """Default: `steward.toml` in the state directory."""
    database: str = ""
    """URL of the database; default: that of the policy, and else a file in the state directory."""

    @property
    def transport(self) -> Transport:
        """How it is spoken to. Raises `ConfigurationError` if the options exclude each other."""
        return _TRANSPORTS[self.said]

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
