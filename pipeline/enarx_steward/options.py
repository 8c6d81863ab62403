"""How a Steward is to run, and the names that follow from it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec

from . import state
from .errors import ConfigurationError
from .policy import StewardPolicy

LOOPBACK: Final = "127.0.0.1"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a Steward is to run. Without `port` it takes its last one where that is free, and else any."""

    state: Path
    policy: Path | None = None
    """Default: `steward.toml` in the state directory."""
    host: str = LOOPBACK
    port: int | None = None

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
