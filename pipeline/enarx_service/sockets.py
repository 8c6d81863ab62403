"""Where a service listens."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from .errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"
OWN_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""By which a machine calls itself."""


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


def host_of(header: str) -> str:
    """The host of a Host header, in lower case and without its port."""
    text = header.lower()
    return text.partition("]")[0].lstrip("[") if text.startswith("[") else text.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether an IP address is reached from this machine only."""
    return ip_address(host).is_loopback


def listen(host: str, ports: Sequence[int], option: str = "--listen") -> socket.socket:
    """Listen on the first of these ports that is free; 0 is any. Raises `ConfigurationError`, which names `option`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        # With the protocol named: asyncio switches Nagle's algorithm off for such sockets only.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1024)
        except OSError as exc:
            listener.close()
            if port == ports[-1]:
                raise ConfigurationError(
                    f"cannot listen on {host} port {port}: {exc.strerror}",
                    hint=f"give another with {option} HOST:PORT; port 0 takes any free one",
                ) from exc
        else:
            return listener
    raise AssertionError("there is a port to try")


def url_of(listener: socket.socket, scheme: str) -> str:
    """The URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
