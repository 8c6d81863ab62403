"""The console's routes. Everything but signing in and out is read with GET, and changes nothing.

GET  /                    all Keeps
GET  /keeps/ID            one: what the host knows, and what a client that verifies it is told
GET  /keeps/ID/logs       the end of what it wrote; ?stream=all, stdout, stderr or host
GET  /enter/SECRET        the link that was printed, once
GET  /sign-in, POST       the form for the token
POST /sign-out
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from enarx_deploy.console import pages
from enarx_deploy.console.entry import COOKIE, SESSION_LIFE, Entry
from enarx_deploy.errors import EnarxDeployError
from enarx_service import body
from enarx_service.gates import KnownHosts, LimitedRate, OneLength, headers_of
from enarx_service.rate_limit import Limits

if TYPE_CHECKING:
    from enarx_deploy.console.pages import Shown
    from enarx_deploy.verification import Report

Stream = Literal["all", "stdout", "stderr", "host"]

LOG_SHOWN: Final = 64 << 10
"""Bytes of a log that a page shows."""
LOG_READ: Final = 64 << 20
"""Bytes of a log that are gone through for its end."""
MAX_BODY: Final = 4096
BODY_TIMEOUT: Final = timedelta(seconds=10)
LIMITS: Final = Limits(requests_per_minute=600, burst=120, own_machine=True)
_AT_ONCE: Final = 4
"""Pages that are made at the same time: each asks Keeps."""
_HEADERS: Final = {
    "Content-Security-Policy": pages.POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none at all, browsers would not say whose page a form is on
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_OPEN: Final = ("/sign-in", "/enter/")
"""What can be asked for without a session."""


class Place(Protocol):
    """Where the console has what it shows from; all of it may take seconds."""

    def keeps(self) -> tuple[list[Shown], list[str]]:
        """Those that are alive first; and in lines, which targets could not say what they have."""

    def report(self, keep: Shown) -> tuple[Report | None, str]:
        """What a client that verifies the Keep is told, or why that cannot be said."""

    def logs(self, keep: Shown, stream: Stream) -> Iterator[bytes]:
        """What it wrote. Raises EnarxDeployError."""


def make_app(place: Place, entry: Entry, hosts: frozenset[str], origins: frozenset[str]) -> Starlette:
    """The application, which is asked for by these hosts, and by pages of these origins."""
    routes = [
        Route("/", _listing, methods=["GET"]),
        Route("/keeps/{keep}", _keep, methods=["GET"]),
        Route("/keeps/{keep}/logs", _logs, methods=["GET"]),
        Route("/enter/{secret}", _enter, methods=["GET"]),
        Route("/sign-in", _form, methods=["GET"]),
        Route("/sign-in", _sign_in, methods=["POST"]),
        Route("/sign-out", _sign_out, methods=["POST"]),
    ]
    middleware = [
        Middleware(OneLength, _refuse),
        Middleware(KnownHosts, _refuse, hosts=hosts),
        Middleware(OwnPages, origins=origins),
        Middleware(LimitedRate, _refuse, limits=lambda: LIMITS),
        Middleware(Signed, entry=entry),
    ]
    handlers = dict.fromkeys((HTTPException, Exception), _of_http)
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.state.place, app.state.entry, app.state.turn = place, entry, asyncio.Semaphore(_AT_ONCE)
    return app


class OwnPages:
    """Refuses what other sites' pages send: by the Origin header, which a request that changes something must have."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            said = headers_of(scope, b"origin")
            wanted = scope["method"] == "POST" or bool(said)
            if wanted and not (len(said) == 1 and said[0] in self._origins):
                await _refuse(scope["path"], 403, {})(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Signed:
    """Sends whoever has no session to the form, and shows nothing else."""

    def __init__(self, app: ASGIApp, entry: Entry) -> None:
        self._app = app
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or scope["path"].startswith(_OPEN)
        if is_open or self._entry.knows(Request(scope).cookies.get(COOKIE, "")):
            await self._app(scope, receive, send)
        else:
            await _see("/sign-in")(scope, receive, send)


async def _listing(request: Request) -> Response:
    place: Place = request.app.state.place
    async with request.app.state.turn:
        keeps, problems = await run_in_threadpool(place.keeps)
    return _html(pages.listing(keeps, problems))


async def _keep(request: Request) -> Response:
    place: Place = request.app.state.place
    async with request.app.state.turn:
        shown = await _the_keep(request)
        report, why_not = await run_in_threadpool(place.report, shown)
    return _html(pages.keep(shown, report, why_not))


async def _logs(request: Request) -> Response:
    place: Place = request.app.state.place
    stream = request.query_params.get("stream", "all")
    if stream not in pages.STREAMS:
        raise HTTPException(404)
    async with request.app.state.turn:
        shown = await _the_keep(request)
        try:
            text, cut = await run_in_threadpool(lambda: _end_of(place.logs(shown, cast("Stream", stream))))
        except EnarxDeployError as error:
            return _html(pages.fault("No logs", f"{error}"), 502)
    return _html(pages.logs(shown.status, stream, text, cut))


async def _the_keep(request: Request) -> Shown:
    place: Place = request.app.state.place
    wanted = request.path_params["keep"]
    keeps, _ = await run_in_threadpool(place.keeps)
    for shown in keeps:
        if shown.status.id == wanted:
            return shown
    raise HTTPException(404)


def _end_of(chunks: Iterator[bytes]) -> tuple[str, bool]:
    """The last of what was written, as text, and whether there is more."""
    kept: deque[bytes] = deque()
    size = total = 0
    for chunk in chunks:
        kept.append(chunk)
        size, total = size + len(chunk), total + len(chunk)
        while size - len(kept[0]) >= LOG_SHOWN:
            size -= len(kept.popleft())
        if total > LOG_READ:
            break
    end = b"".join(kept)[-LOG_SHOWN:]
    return end.decode(errors="backslashreplace"), total > len(end)


async def _form(request: Request) -> Response:  # noqa: ARG001 - starlette's shape
    return _html(pages.sign_in())


async def _enter(request: Request) -> Response:
    entry: Entry = request.app.state.entry
    return _with_session(entry.by_link(request.path_params["secret"]), "That link worked once, or is too old.")


async def _sign_in(request: Request) -> Response:
    entry: Entry = request.app.state.entry
    said = parse_qs((await body.read(request, MAX_BODY, BODY_TIMEOUT)).decode(errors="replace"), max_num_fields=4).get(
        "token", [""]
    )
    return _with_session(entry.by_token(said[0].strip()), "That is not the token.")


async def _sign_out(request: Request) -> Response:
    entry: Entry = request.app.state.entry
    entry.end(request.cookies.get(COOKIE, ""))
    answer = _see("/sign-in")
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
    return answer


def _with_session(session: str | None, problem: str) -> Response:
    if session is None:
        return _html(pages.sign_in(problem), 403)
    answer = _see("/")
    answer.set_cookie(COOKIE, session, max_age=int(SESSION_LIFE), secure=True, httponly=True, samesite="strict")
    return answer


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, headers=_HEADERS)


def _html(page: bytes, status: int = 200) -> Response:
    return Response(page, status, headers=_HEADERS, media_type="text/html; charset=utf-8")


_REFUSALS: Final = {
    400: "The request cannot be read.",
    403: "The request came from another site's page.",
    404: "There is no such page, or the Keep is not known any more.",
    405: "That cannot be done here.",
    408: "The request took too long.",
    413: "The request is too long.",
    421: "This is not the host that was asked for.",
    429: "Too many requests: wait a little.",
}


def _refuse(_path: str, status: int, headers: Mapping[str, str]) -> ASGIApp:
    answer = Response(f"{_REFUSALS.get(status, 'It failed.')}\n", status, media_type="text/plain")
    answer.headers.update(_HEADERS | dict(headers))
    return answer


async def _of_http(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _html(pages.fault("Not here", _REFUSALS.get(status, "It failed.")), status)
