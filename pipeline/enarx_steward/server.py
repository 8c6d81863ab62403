"""The Steward as a process: files, socket, HTTP server, and its end.

It listens on the loopback interface unless told otherwise, and speaks plain HTTP: TLS is for a proxy, or a Keep, in
front of it. Requests are logged by method, path and status; bodies never are.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import uvicorn

from enarx_collateral import Store

from . import policy as policy_file
from . import state
from .app import make_app
from .appraisal import Appraiser
from .connections import BoundedConnection
from .errors import ConfigurationError
from .issuance import Steward, utc_now
from .policy import StewardPolicy
from .record import Held, Running, hold
from .stored import StoredCollateral

LOOPBACK: Final = "127.0.0.1"
MAX_CONNECTIONS: Final = 512
"""Beyond these, a connection is answered with 503."""
SHUTDOWN_SECONDS: Final = 5
"""For requests that are under way when the Steward is asked to end."""

_LOG_CONFIG: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": level, "propagate": False}
        for name, level in (("uvicorn", "WARNING"), ("uvicorn.access", "INFO"), ("enarx_steward", "INFO"))
    },
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a Steward is to run. Without `port` it takes its last one where that is free, and else any."""

    state: Path
    policy: Path | None = None
    """Default: `steward.toml` in the state directory."""
    host: str = LOOPBACK
    port: int | None = None


Ready = Callable[[Running], None]
"""Called once the Steward accepts connections."""


def serve(options: Options, ready: Ready, *, before_serving: Callable[[], None] = lambda: None) -> None:
    """Run a Steward until SIGINT or SIGTERM. Raises `ConfigurationError` before it listens.

    `before_serving` is called when nothing but the network can fail any more, before a thread is started.
    """
    state.prepare(options.state)
    policy_path = options.policy or options.state / state.POLICY
    policy = policy_file.load(policy_path)
    authority = state.load_authority(options.state, policy, utc_now())
    with hold(options.state) as held, _listen(options, _ports(options, held)) as listener:
        url = _url(listener)
        source = StoredCollateral(Store(policy.collateral_store or options.state / state.COLLATERAL))
        audience = _audience(policy, options.host, url)
        steward = Steward(authority, policy, audience=audience, appraiser=Appraiser(source=source))
        before_serving()
        server = _make_server(steward, options.host)
        running = Running(
            pid=os.getpid(),
            url=url,
            audience=steward.audience,
            root_pem_path=str(options.state / state.ROOT),
            policy_path=str(policy_path),
        )
        held.write(running)
        ready(running)
        server.run(sockets=[listener])


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


def _make_server(steward: Steward, host: str) -> uvicorn.Server:
    """The HTTP server, and from now on SIGINT and SIGTERM end it in good order."""
    hosts = {"localhost", "127.0.0.1", "::1", host} if is_loopback(host) else None
    config = uvicorn.Config(
        make_app(steward, hosts=hosts),
        http=BoundedConnection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=_LOG_CONFIG,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = uvicorn.Server(config)

    # uvicorn raises the signal again when it has shut down; with a handler of ours that is a return, not a death.
    def leave(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 — shape of a signal handler
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    return server


def _ports(options: Options, held: Held) -> Sequence[int]:
    if options.port is not None:
        return (options.port,)
    previous = held.previous.url.rpartition(":")[2] if held.previous else ""
    return (int(previous), 0) if previous.isdecimal() and int(previous) <= 65535 else (0,)


def _listen(options: Options, ports: Sequence[int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    for port in ports:
        # With the protocol named: asyncio switches Nagle's algorithm off for such sockets only.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((options.host, port))
            listener.listen(1024)
        except OSError as exc:
            listener.close()
            if port == ports[-1]:
                raise ConfigurationError(
                    f"cannot listen on {options.host} port {port}: {exc.strerror}",
                    hint="give another with --listen HOST:PORT; port 0 takes any free one",
                ) from exc
        else:
            return listener
    raise AssertionError("there is a port to try")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _audience(policy: StewardPolicy, host: str, url: str) -> str:
    if policy.audience:
        return policy.audience
    if not is_loopback(host):
        raise ConfigurationError(
            f"a Steward that listens on {host} needs a name for its evidence",
            hint='[ca] audience = "https://…" in the policy: the URL that manifests name as `steward`',
        )
    return url
