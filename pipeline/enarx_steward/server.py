"""The Steward as a process: files, socket, HTTP server, and its end.

It listens on the loopback interface unless told otherwise, and speaks plain HTTP there; to other machines it speaks TLS
unless it is asked by name not to. Requests are logged by method, path and status; bodies never are.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import uvicorn
from starlette.middleware import Middleware

from enarx_collateral import Store
from enarx_service.connections import configure
from enarx_service.line_writer import log_config
from enarx_service.sockets import OWN_NAMES, is_loopback, listen, url_of
from enarx_service.tls import Given
from enarx_service.tls import Listener as TlsListener

from . import database, state
from . import policy as policy_file
from .app import make_app
from .appraiser import Appraiser
from .issuance import Steward, utc_now
from .issuance_log import IssuanceLog
from .options import Options, audience_of
from .record import Held, Running, hold
from .shared_nonces import SharedNonces
from .stored import StoredCollateral
from .tls import Own
from .upkeep import Server, Upkeep

if TYPE_CHECKING:
    from .metrics import Endpoint

MAX_CONNECTIONS: Final = 512
"""Beyond these, a connection is answered with 503."""
SHUTDOWN: Final = timedelta(seconds=5)
"""For requests that are under way when the Steward is asked to end."""

_log = logging.getLogger("enarx_steward")


Ready = Callable[[Running], None]
"""Called once the Steward accepts connections."""


def serve(options: Options, ready: Ready, *, before_serving: Callable[[], None] = lambda: None) -> None:
    """Run a Steward until SIGINT or SIGTERM; SIGHUP has it read its policy again.

    Raises `ConfigurationError` before it listens.
    `before_serving` is called when nothing but the network can fail any more, before a thread is started.
    """
    policy = policy_file.load(options.policy_path)  # first: a directory whose name was mistyped is not made
    state.prepare(options.state)
    authority = state.load_authority(options.state, policy, utc_now())
    with (
        hold(options.state) as held,
        listen(options.host, _ports(options, held)) as listener,
        _metrics(options) as metrics,
        contextlib.closing(database.open_for(options.state, options.database or policy.database)) as opened,
    ):
        url = url_of(listener, "https" if options.transport.endswith("-tls") else "http")
        store = Store(policy.collateral_store or options.state / state.COLLATERAL)
        steward = Steward(
            authority,
            policy,
            audience=audience_of(policy, options.host, url),
            appraiser=Appraiser(source=StoredCollateral(store)),
            log=IssuanceLog(opened) if metrics is None else metrics.log(opened),
            nonces=SharedNonces(opened) if opened.shared else None,
        )
        tls = _tls(options, steward.audience)
        before_serving()
        running = _running(options, steward, url, metrics)
        if options.transport == "insecure-http":
            _log.warning("plain HTTP on %s, as --insecure-http asks: whoever is on the way can answer", options.host)
        outermost = () if metrics is None else (metrics.timed,)
        server = Server(_configure(steward, options, tls, outermost), Upkeep(options, steward, held, running, tls))
        with contextlib.nullcontext() if metrics is None else metrics.serving(steward, store):
            held.write(running)
            ready(running)
            server.run(sockets=[listener])


def _running(options: Options, steward: Steward, url: str, metrics: Endpoint | None) -> Running:
    """What others are told of this process."""
    return Running(
        pid=os.getpid(),
        url=url,
        audience=steward.audience,
        root_pem_path=str(options.state / state.ROOT),
        policy_path=str(options.policy_path),
        policy_sha256=steward.policy.sha256,
        metrics_url="" if metrics is None else metrics.url,
    )


@contextlib.contextmanager
def _metrics(options: Options) -> Iterator[Endpoint | None]:
    """Where metrics are to be served, if anywhere."""
    if options.metrics is None:
        yield None
        return
    from .metrics import Endpoint

    host, port = options.metrics
    with listen(host, (port,), "--metrics") as listener:
        hosts = {*OWN_NAMES, host} if is_loopback(host) else None
        yield Endpoint(listener, f"{url_of(listener, 'http')}/metrics", hosts)


def _tls(options: Options, audience: str) -> TlsListener | None:
    now = utc_now()
    if options.tls_certificate is not None and options.tls_key is not None:
        return TlsListener(Given(options.tls_certificate, options.tls_key), options.state, now)
    return TlsListener(Own(options.state, audience), options.state, now) if options.transport == "own-tls" else None


def _configure(
    steward: Steward, options: Options, tls: TlsListener | None, outermost: Sequence[Middleware]
) -> uvicorn.Config:
    named = urlsplit(steward.audience).hostname or ""
    hosts = {*OWN_NAMES, options.host, named} if is_loopback(options.host) else None
    app = make_app(steward, hosts=hosts, transport=options.transport, outermost=outermost)
    config = configure(app, most=MAX_CONNECTIONS, shutdown=SHUTDOWN, log_config=log_config("enarx_steward"))
    config.load()
    config.ssl = tls.context if tls else None
    return config


def _ports(options: Options, held: Held) -> Sequence[int]:
    if options.port is not None:
        return (options.port,)
    previous = held.previous.url.rpartition(":")[2] if held.previous else ""
    return (int(previous), 0) if previous.isdecimal() and int(previous) <= 65535 else (0,)
