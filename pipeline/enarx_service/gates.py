"""What a request has to pass before it is read, as ASGI middleware. `refuse` makes the answer that a service gives.

`refuse(path, status, headers)` is called for requests that do not pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from .rate_limit import Limits, RateLimit, as_address, client_of
from .sockets import host_of

Refuse = Callable[[str, int, Mapping[str, str]], ASGIApp]

_LENGTHS: Final = (b"content-length", b"transfer-encoding")


class OneLength:
    """Refuses requests that give the length of their body in two ways, and has their connection closed.

    A proxy that goes by the other one would take what follows for a part of the body, and here it is the next request:
    of whoever comes next, or by an address that the proxy never saw (RFC 9112, section 11.2).
    """

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not all(headers_of(scope, name) for name in _LENGTHS):
            await self._app(scope, receive, send)
        else:
            await self._refuse(scope["path"], 400, {"Connection": "close"})(scope, receive, send)


class LimitedRate:
    """Refuses requests of an address that asks more often than the limits in force let it.

    Before anything is read or decided. `unlimited` are method and path of what a monitor asks, also of a service that
    is asked a great deal.
    """

    def __init__(
        self, app: ASGIApp, refuse: Refuse, limits: Callable[[], Limits], unlimited: Collection[tuple[str, str]] = ()
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._limits = limits
        self._unlimited = frozenset(unlimited)
        self._rate = RateLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait = self._wait(scope) if scope["type"] == "http" else 0
        if not wait:
            await self._app(scope, receive, send)
        else:
            await self._refuse(scope["path"], 429, {"Retry-After": str(math.ceil(wait))})(scope, receive, send)

    def _wait(self, scope: Scope) -> float:
        """For how many seconds the client has to wait; 0 if it need not."""
        if (scope["method"], scope["path"]) in self._unlimited:
            return 0
        limits = self._limits()
        peer = as_address(scope["client"][0] if scope["client"] else "::")  # one that is gone has no address
        client = client_of(peer, ",".join(headers_of(scope, b"x-forwarded-for")), limits.trusted_proxies)
        exempt = client is peer and peer.is_loopback and not limits.own_machine
        return 0 if exempt else self._rate.take(client, limits)


class KnownHosts:
    """Refuses requests for other hosts.

    A web page can have its own name resolve to this machine, and then a browser here takes a service on the loopback
    interface for a part of that page; but it says in the Host header which name it used.
    """

    def __init__(self, app: ASGIApp, refuse: Refuse, hosts: frozenset[str]) -> None:
        self._app = app
        self._refuse = refuse
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _host(scope) in self._hosts:
            await self._app(scope, receive, send)
        else:
            await self._refuse(scope["path"], 421, {})(scope, receive, send)


class NoWebPage:
    """Refuses requests with an Origin header.

    A browser sends some of what the pages of any site ask without asking the service first whether they may, and says
    in this header whose page it was (Fetch, section 3.2). Programs have no reason to send it.
    """

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not headers_of(scope, b"origin"):
            await self._app(scope, receive, send)
        else:
            await self._refuse(scope["path"], 403, {})(scope, receive, send)


def headers_of(scope: Scope, wanted: bytes) -> list[str]:
    """The values of a header, whose name is in lower case."""
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


def _host(scope: Scope) -> str:
    """The host that is asked for; empty if there is none or more than one."""
    values = headers_of(scope, b"host")
    return host_of(values[0]) if len(values) == 1 else ""
