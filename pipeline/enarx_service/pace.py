"""Answers come at a least pace: a byte now and then would hold a command up for ever.

httpx bounds each read by itself. Here the time that a connection waits for bytes is counted too: the head of an answer
has `PATIENCE`, and what follows must keep up `LEAST_RATE`, save for pauses that come to no more than `PATIENCE`. What
is too slow ends as `httpx.ReadTimeout`. The time that the reader takes between two reads does not count.

Who keeps the pace could still go on for ever, with one interim answer after another: of those an answer has at most
`MOST_INTERIM` before it, and ends as `httpx.RemoteProtocolError` where there are more. Where requests and answers are
small, a client has a number of seconds for all its waiting together, also for a request to be taken, which ends as
`httpx.WriteTimeout`.
"""

from __future__ import annotations

import math
import re
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
MOST_INTERIM: Final = 1 << 16
"""Bytes of interim answers (RFC 9110, section 15.2); what sends any sends a few hundred."""

_PIECE: Final = 1 << 16
"""Bytes that are handed on at once, so that the time is looked at between two."""
_END: Final = re.compile(rb"\n\r?\n")  # of a head, as leniently as it is read behind this
_INTERIM: Final = re.compile(rb"HTTP/[0-9]\.[0-9] [01]")


def bound(client: httpx.Client, altogether: float = math.inf) -> None:
    """Have all connections that a client will make keep the pace, and wait for `altogether` seconds in all."""
    allowance = _Allowance(altogether)
    # httpx hands no network backend on, and a transport of our own would take the environment's proxies away.
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = _Network(transport._pool._network_backend, allowance)


class _Allowance:
    """The seconds that all connections of a client may still wait."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds


class _Network(httpcore.NetworkBackend):
    """Makes streams that keep the pace."""

    def __init__(self, inner: httpcore.NetworkBackend, allowance: _Allowance) -> None:
        self._inner = inner
        self._allowance = allowance

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        opened = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(opened, self._allowance)


class _Stream(httpcore.NetworkStream):
    """A connection, and the seconds that it may still wait: a request renews them, and each byte brings some back."""

    def __init__(self, inner: httpcore.NetworkStream, allowance: _Allowance) -> None:
        self._inner = inner
        self._allowance = allowance
        self._left = PATIENCE
        self._interim = _Interim()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = min(self._left, self._allowance.left)
        if left <= 0:
            raise httpcore.ReadTimeout("the answer comes too slowly")
        began = time.monotonic()
        data = self._inner.read(max_bytes, left if timeout is None else min(timeout, left))
        waited = time.monotonic() - began
        self._left = min(PATIENCE, self._left - waited + len(data) / LEAST_RATE)
        self._allowance.left -= waited
        self._interim.pass_over(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._left = PATIENCE
        self._interim = _Interim()
        for start in range(0, len(buffer), _PIECE):
            left = self._allowance.left
            if left <= 0:
                raise httpcore.WriteTimeout("the request is taken too slowly")
            began = time.monotonic()
            self._inner.write(buffer[start : start + _PIECE], left if timeout is None else min(timeout, left))
            self._allowance.left -= time.monotonic() - began

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Interim:
    """The interim answers to one request, as they come before the answer itself."""

    def __init__(self) -> None:
        self._head = b""  # as far as it has come
        self._bytes = 0
        self._over = False

    def pass_over(self, data: bytes) -> None:
        """Look at what came next. Raises httpcore.RemoteProtocolError where there is no end to them."""
        if self._over:
            return
        seen = max(len(self._head) - 2, 0)
        self._head += data
        while end := _END.search(self._head, seen):
            if not _INTERIM.match(self._head):
                self._over, self._head = True, b""
                return
            self._bytes += end.end()
            self._head, seen = self._head[end.end() :], 0
            if self._bytes > MOST_INTERIM:
                raise httpcore.RemoteProtocolError("one interim answer follows another, and no answer")
