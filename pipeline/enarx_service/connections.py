"""Connections that end: uvicorn times out a connection between requests, but not before the first one.

Without this, as many clients as there are places could connect, say nothing, and keep everybody else out. Before that,
a TLS handshake has its own end: until it is done, a connection is no connection to uvicorn.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, ClassVar, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HANDSHAKE: Final = timedelta(seconds=10)
"""Within which a TLS handshake must be done."""
PEER_CERTIFICATE: Final = "peer_certificate"
"""In the state of a request: the client's certificate (DER), if TLS asked for one and took it, and else None."""


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait for a TLS handshake for at most 10 seconds."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """As asyncio has it."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = HANDSHAKE.total_seconds()
        return await super().create_server(*args, **options)


class BoundedConnection(H11Protocol):
    """HTTP/1.1 on a connection that lives for at most 30 seconds, and as long as a request is being answered.

    A client that takes nothing of its answers for as long is cut off. When all places are taken, the connection on
    which nothing has been asked for the longest makes room for a new one.
    """

    LIFETIME: ClassVar[timedelta] = timedelta(seconds=30)
    _end: asyncio.TimerHandle
    _since: float
    _paused: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        channel = transport.get_extra_info("ssl_object")
        certificate = channel.getpeercert(binary_form=True) if channel is not None else None
        self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate}
        self._since = self.loop.time()
        self._look_later()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def pause_writing(self) -> None:
        self._paused = self.loop.time()
        super().pause_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        idle = [one for one in self.connections if isinstance(one, BoundedConnection) and one._idle and one is not self]
        if idle:
            oldest = min(idle, key=lambda one: one._since)
            self.connections.discard(oldest)  # now: what it holds is only let go of in a later turn of the loop
            oldest.transport.abort()

    def _look_later(self) -> None:
        self._end = self.loop.call_later(self.LIFETIME.total_seconds(), self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.flow.write_paused:
            left = self._paused + self.LIFETIME.total_seconds() - self.loop.time()
            if left > 0:
                self._end = self.loop.call_later(left, self._end_if_idle)
            else:
                self.transport.abort()
        elif self._idle:
            self.transport.close()
            # It closes once all is sent, which a client that does not read can put off.
            self._end = self.loop.call_later(self.LIFETIME.total_seconds(), self.transport.abort)
        else:
            self._look_later()


def configure(
    app: ASGIApp, *, most: int, shutdown: timedelta, log_config: dict[str, Any] | None = None, access_log: bool = True
) -> uvicorn.Config:
    """A server with bounds: of `most` connections, and `shutdown` for requests under way when it is to end."""
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        loop=f"{BoundedLoop.__module__}:{BoundedLoop.__name__}",
        ws="none",
        lifespan="off",
        log_config=log_config,
        access_log=access_log,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=most,
        timeout_graceful_shutdown=int(shutdown.total_seconds()),
    )
