"""A Drawbridge server as a process: files, socket, HTTP server, and its end.

It listens on the loopback interface unless told otherwise, and speaks plain HTTP there; to other machines it speaks TLS
unless it is asked by name not to. Requests are logged by method, path and status; headers and bodies never are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import uvicorn
from starlette.middleware import Middleware

from enarx_service.connections import configure
from enarx_service.errors import ServiceFault
from enarx_service.line_writer import log_config
from enarx_service.sockets import OWN_NAMES, is_loopback, listen, url_of
from enarx_service.tls import Given, Listener

from . import policy as policy_file
from .answers import refuse
from .app import make_app
from .errors import ConfigurationError
from .options import DEFAULT_PORT, Options, Running
from .policy import Policy
from .store import Store, prepare

if TYPE_CHECKING:
    from .metrics import Metrics

MAX_CONNECTIONS: Final = 512
"""Beyond these, a connection is answered with 503."""
SHUTDOWN: Final = timedelta(seconds=10)
"""For requests that are under way when the server is asked to end."""
UPKEEP_TICKS: Final = 36_000
"""Ticks of a tenth of a second between two looks for what was abandoned, and for another certificate: an hour."""

_log = logging.getLogger("enarx_drawbridge")

Ready = Callable[[Running], None]
"""Called once the server accepts connections."""


def serve(options: Options, ready: Ready) -> None:
    """Run a server until SIGINT or SIGTERM. Raises `ConfigurationError` before it listens."""
    transport = options.transport
    prepare(options.store)
    policy = policy_file.load(options.policy_path, named=options.policy is not None)
    if policy.keeps is not None and transport != "tls":
        raise ConfigurationError("Keeps show their certificates in TLS", hint="give --tls-cert and --tls-key")
    with (
        contextlib.closing(Store(options.store, policy.quota)) as store,
        listen(options.host, (DEFAULT_PORT if options.port is None else options.port,)) as listener,
        _metrics(options, store) as metrics,
    ):
        tls = _tls(options, policy)
        config = _configure(store, options, policy, tls, metrics)
        running = Running(
            pid=os.getpid(),
            url=url_of(listener, "https" if tls else "http"),
            store=str(options.store),
            policy_path=str(options.policy_path),
            transport=transport,
            metrics_url=metrics.url if metrics else "",
        )
        if transport == "insecure-http":
            _log.warning("plain HTTP on %s, as --insecure-http asks: tokens go in clear", options.host)
        server = Server(config, store, tls)
        ready(running)
        server.run(sockets=[listener])


class Exposed(NamedTuple):
    """What is counted, and where it is told."""

    url: str
    metrics: Metrics


@contextlib.contextmanager
def _metrics(options: Options, store: Store) -> Iterator[Exposed | None]:
    """Where metrics are to be served, if anywhere."""
    if options.metrics is None:
        yield None
        return
    from enarx_service.metrics import PATH, exposed

    from .metrics import Metrics

    host, port = options.metrics
    found = Metrics(store)
    hosts = frozenset({*OWN_NAMES, host}) if is_loopback(host) else None
    with listen(host, (port,), "--metrics") as listener, exposed(found.registry, listener, hosts, refuse):
        yield Exposed(f"{url_of(listener, 'http')}{PATH}", found)


def _tls(options: Options, policy: Policy) -> Listener | None:
    if options.tls_certificate is None or options.tls_key is None:
        return None
    roots = policy.keeps.roots if policy.keeps else ""
    return Listener(Given(options.tls_certificate, options.tls_key), options.store, _now(), client_roots=roots)


def _configure(
    store: Store, options: Options, policy: Policy, tls: Listener | None, metrics: Exposed | None
) -> uvicorn.Config:
    hosts = frozenset({*OWN_NAMES, options.host}) if is_loopback(options.host) else None
    timed = []
    if metrics is not None:
        from enarx_service.metrics import Timed

        timed = [Middleware(Timed, answered=metrics.metrics.answered)]
    app = make_app(store, policy, hosts=hosts, outermost=timed)
    config = configure(app, most=MAX_CONNECTIONS, shutdown=SHUTDOWN, log_config=_log_config())
    config.load()
    config.ssl = tls.context if tls else None
    return config


class Server(uvicorn.Server):
    """The HTTP server. From the moment it is made, SIGINT and SIGTERM end it in good order.

    Every hour and on SIGHUP it takes up another certificate for TLS, and forgets what was abandoned.
    """

    def __init__(self, config: uvicorn.Config, store: Store, tls: Listener | None) -> None:
        super().__init__(config)
        self._store = store
        self._tls = tls
        self._due = False
        self._task: asyncio.Task[None] | None = None
        # uvicorn raises the signal again when it has shut down; with a handler of ours that is a return, not a death.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._leave)
        signal.signal(signal.SIGHUP, self._look)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. What takes long is done on a thread, while requests are answered."""
        if (self._due or counter % UPKEEP_TICKS == UPKEEP_TICKS - 1) and (self._task is None or self._task.done()):
            self._due = False
            # Not on the thread: a handshake that begins between certificate and key would fail.
            _attempt(self._refresh)
            self._task = asyncio.create_task(asyncio.to_thread(_attempt, self._store.forget_abandoned))
        return await super().on_tick(counter)

    def _refresh(self) -> None:
        if self._tls is not None and self._tls.refresh(_now()):
            _log.info("another certificate is in use")

    def _leave(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 — shape of a signal handler
        self.should_exit = True

    def _look(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 — shape of a signal handler
        self._due = True


def _attempt(work: Callable[[], None]) -> None:
    try:
        work()
    except (ServiceFault, OSError) as fault:
        _log.error("upkeep failed, and is tried again: %s", fault)


def _log_config() -> dict[str, Any]:
    config = log_config("enarx_drawbridge")
    config["loggers"]["httpx"] = {"level": "WARNING"}  # it tells each request to the issuer of tokens
    return config


def _now() -> datetime:
    return datetime.now(UTC)
