"""Answers come at a least pace: a byte now and then would hold a command up for ever.

httpx bounds each read by itself. Here the time that a connection waits for bytes is counted too: the head of an answer
has `PATIENCE`, and what follows must keep up `LEAST_RATE`, save for pauses that come to no more than `PATIENCE`. What
is too slow ends as `httpx.ReadTimeout`. The time that the reader takes between two reads does not count.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

PATIENCE: Final = 120.0
"""Seconds: a registry may look through a whole blob before it answers, and a Steward ask a module for a signature."""
LEAST_RATE: Final = 1000
"""Bytes a second."""


def bound(client: httpx.Client) -> None:
    """Have all connections that a client will make keep the pace."""
    # httpx hands no network backend on, and a transport of our own would take the environment's proxies away.
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = _Network(transport._pool._network_backend)


class _Network(httpcore.NetworkBackend):
    """Makes streams that keep the pace."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    """A connection, and the seconds that it may still wait: a request renews them, and each byte brings some back."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._left = PATIENCE

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._left <= 0:
            raise httpcore.ReadTimeout("the answer comes too slowly")
        began = time.monotonic()
        data = self._inner.read(max_bytes, self._left if timeout is None else min(timeout, self._left))
        waited = time.monotonic() - began
        self._left = min(PATIENCE, self._left - waited + len(data) / LEAST_RATE)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._left = PATIENCE
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
