"""Metrics of a service, in Prometheus' text format, on a listener of their own: numbers, and no requester's words."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .connections import configure
from .gates import KnownHosts, Refuse

PATH: Final = "/metrics"
MAX_CONNECTIONS: Final = 16
SHUTDOWN: Final = timedelta(seconds=1)
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds."""

Answered = Callable[[Scope, int, float], None]
"""Called with a request's scope, the status of its answer and the seconds from its head to the end of the answer."""


class Timed:
    """Tells of every answer of an application."""

    def __init__(self, app: ASGIApp, answered: Answered) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, began = 500, time.monotonic()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._answered(scope, status, time.monotonic() - began)


@contextlib.contextmanager
def exposed(
    registry: CollectorRegistry, listener: socket.socket, hosts: frozenset[str] | None, refuse: Refuse
) -> Iterator[None]:
    """Serve metrics on a thread as long as the context lasts; for `hosts` alone if there are any (see `KnownHosts`)."""

    def show(request: Request) -> Response:  # noqa: ARG001 — starlette's shape
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    known = [] if hosts is None else [Middleware(KnownHosts, refuse, hosts=hosts)]
    app = Starlette(routes=[Route(PATH, show)], middleware=known)
    server = uvicorn.Server(configure(app, most=MAX_CONNECTIONS, shutdown=SHUTDOWN, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="metrics")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
