"""Drawbridge's protocol over HTTP (Drawbridge 0.4), below `/api/vX.Y.Z`.

    GET, PUT          /{user}                                 {"subject"}
    GET, PUT          /{user}/{repository}                    {"public"}
    GET               /{user}/{repository}/_tag               [tag, …]
    GET, PUT, DELETE  /{user}/{repository}/_tag/{tag}         an entry, or a JWS with one in it
    GET, PUT          /{user}/{repository}/_tag/{tag}/tree/…  a node: a directory or a file
    any               /health                                 200, empty
    GET               /_search?q=WORD                         [{"repository", "tag", "digest"}, …] of what is public
    GET               /.well-known/oauth-protected-resource   whose tokens are believed (RFC 9728)

HEAD is answered where GET is. What is answered has Content-Digest, Content-Length and Content-Type, and what is put
must have them; a body's own bytes are what digests are of. 201 says that something is new, 200 that the very same was
there. Errors are text. DELETE is not of Drawbridge: it withdraws a tag (`?reason=`), which is answered with 410 from
then on; whoever has the digest still gets the tree. `_search` is not of Drawbridge either.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from enarx_service.connections import PEER_CERTIFICATE
from enarx_service.gates import KnownHosts, LimitedRate, NoWebPage, OneLength

from . import content_digest, names, reading
from .access import Access, Caller
from .blobs import Incoming
from .content_digest import MalformedDigest
from .database import Repository, User
from .directory_form import Entry, entry_of
from .errors import (
    DrawbridgeFault,
    Forbidden,
    Gone,
    Malformed,
    NoSuchMethod,
    NotFound,
    OtherVersion,
    TooLarge,
    TooSlow,
    Unauthorized,
)
from .policy import Policy
from .store import Store

VERSION: Final = (0, 4, 3)
"""The latest version of the protocol that is spoken here."""
JSON_TYPE: Final = "application/json"
MAX_RECORD: Final = 64 * 1024
"""Most bytes of a user's or a repository's record."""
MAX_FOUND: Final = 1000
"""Most tags that a search answers with."""
MAX_WORDS: Final = 8
MAX_WORD: Final = 128
MAX_REASON: Final = 500
"""Most characters of the reason for a yank."""
MAX_LOGGED: Final = 500
"""Most characters of a path in the log."""
THREADS: Final = 16
CHUNK: Final = 1 << 18
PATIENCE: Final = timedelta(seconds=30)
"""Within which a body must have come, were it empty."""
SLOWEST: Final = 16 * 1024
"""Bytes of a body for each of which further seconds are given, one."""
METADATA: Final = "/.well-known/oauth-protected-resource"
SCOPES: Final = ("manage:drawbridge_users", "manage:drawbridge_repositories", "manage:drawbridge_tags")
UNLIMITED: Final = frozenset({("GET", "/health"), ("HEAD", "/health")})

_API: Final = re.compile(r"/api/v([^/]*)(/.*)?", re.DOTALL)
_SEMVER: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+][0-9A-Za-z.+-]*)?")

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Handler = Callable[["Asked"], Awaitable[Response]]

_log = logging.getLogger("enarx_drawbridge")


class UserRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a user."""

    subject: str


class RepositoryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a repository."""

    public: bool


class Service(NamedTuple):
    """What requests are answered with."""

    store: Store
    policy: Policy
    access: Access
    threads: ThreadPoolExecutor
    waiting_room: ThreadPoolExecutor
    """Where it is decided about tokens, which may take until their issuer answers."""
    patience: timedelta


class Asked(NamedTuple):
    """A request, and the names in its path."""

    request: Request
    service: Service
    caller: Caller
    names: Sequence[str]

    @property
    def repository(self) -> tuple[str, str]:
        """User and repository."""
        return names.check(self.names[0], names.USER), names.check(self.names[1], names.REPOSITORY)

    @property
    def tag(self) -> str:
        """The tag."""
        return names.check(self.names[3], names.TAG)

    @property
    def path(self) -> tuple[str, ...]:
        """The way to the node."""
        return names.tree_path(list(self.names[5:]))

    async def decided(self, function: Callable[Given, Answer], /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Have `Access` decide on a thread, of its own if there is a token: who has none does not wait for it."""
        pool = self.service.waiting_room if self.caller.authorization else self.service.threads
        return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args, **kwargs))

    async def on_a_thread(
        self, function: Callable[Given, Answer], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Answer:
        """Do there what reads, writes or waits, so that others are answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(
            self.service.threads, partial(function, *args, **kwargs)
        )


def make_app(
    store: Store,
    policy: Policy,
    *,
    hosts: frozenset[str] | None = None,
    patience: timedelta = PATIENCE,
    outermost: Sequence[Middleware] = (),
) -> Starlette:
    """The ASGI application. With `hosts`, a request whose Host header names another host is refused (421).

    `outermost` sees every request before anything else does.
    """
    limits = policy.request_limits
    middleware = [
        *outermost,
        Middleware(OneLength, refuse),
        Middleware(LimitedRate, refuse, limits=lambda: limits, unlimited=UNLIMITED),
        Middleware(NoWebPage, refuse),
        *([Middleware(KnownHosts, refuse, hosts=hosts)] if hosts is not None else []),
    ]
    app = Starlette(
        routes=[Route("/{path:path}", _answer, methods=list(_METHODS))],
        middleware=middleware,
        exception_handlers={DrawbridgeFault: _fault, HTTPException: _http_error, Exception: _failed},
    )
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="drawbridge")
    waiting_room = ThreadPoolExecutor(THREADS, thread_name_prefix="drawbridge-tokens")
    app.state.service = Service(store, policy, Access(store, policy), threads, waiting_room, patience)
    return app


async def _answer(request: Request) -> Response:
    path = request.scope["path"]
    if path == "/health":
        return Response()
    if path == METADATA:
        return _metadata(request.app.state.service.policy)
    handlers, parts = _route(path)
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise NoSuchMethod("Method not allowed")
    caller = Caller(_one(request, "authorization"), getattr(request.state, PEER_CERTIFICATE, None))
    return await handler(Asked(request, request.app.state.service, caller, parts))


def shape_of(path: str) -> str:
    """What kind of thing a path names, for counting."""
    try:
        handlers, _ = _route(path)
    except DrawbridgeFault:
        return "other"
    return next(shape for shape, known in _HANDLERS.items() if known is handlers)


def _route(path: str) -> tuple[Mapping[str, Handler], list[str]]:
    """What a path can be asked, by method, and the names in it. Raises `NotFound`, `Malformed`, `OtherVersion`."""
    found = _API.fullmatch(path)
    if found is None:
        raise NotFound(f"Route `{path[:200]}` not found")
    version = _SEMVER.fullmatch(found[1])
    if version is None:
        raise Malformed(f"Failed to parse SemVer version {found[1][:80]!a}")
    asked = tuple(map(int, version.groups()))
    if asked[0] > VERSION[0] or (not VERSION[0] and asked[1] > VERSION[1]):
        raise OtherVersion(f"Unsupported API version {found[1]}: up to {'.'.join(map(str, VERSION))} is spoken here")
    parts = (found[2] or "").strip("/").split("/")
    if parts == ["_search"]:
        shape = "search"
    elif "_tag" in parts[2:3]:
        shape = "tree" if parts[4:5] == ["tree"] else {3: "tags", 4: "tag"}.get(len(parts), "")
    else:
        shape = {1: "user", 2: "repository"}.get(len(parts), "") if parts[0] else ""
    if not shape:
        raise NotFound(f"Route `{path[:200]}` not found")
    return _HANDLERS[shape], parts


def _metadata(policy: Policy) -> Response:
    oidc = policy.oidc
    if oidc is None:
        raise NotFound("This registry believes no token")
    client = {"client_id": oidc.client_id} if oidc.client_id else {}
    document = {
        "resource": oidc.audience,
        "authorization_servers": [oidc.issuer],
        "scopes_supported": SCOPES,
        "bearer_methods_supported": ["header"],
    }
    return _content(msgspec.json.encode(document | client), JSON_TYPE)


async def _get_user(asked: Asked) -> Response:
    user = names.check(asked.names[0], names.USER)
    await asked.decided(asked.service.access.owner, asked.caller, user, "read", "users")
    found = await asked.on_a_thread(asked.service.store.user, user)
    assert found is not None  # noqa: S101 — it has an owner
    return _content(found.body, JSON_TYPE)


async def _put_user(asked: Asked) -> Response:
    user = names.check(asked.names[0], names.USER)
    identity = await asked.decided(asked.service.access.identify, asked.caller, "write", "users")
    body = await _record(asked)
    if _decoded(body, UserRecord).subject != identity.subject:
        raise Unauthorized("OpenID Connect subject mismatch")
    return _put(await asked.on_a_thread(asked.service.store.put_user, User(user, identity.subject, body)))


async def _get_repository(asked: Asked) -> Response:
    owned = asked.service.access.owned
    found = await asked.decided(owned, asked.caller, *asked.repository, "read", "repositories")
    return _content(found.body, JSON_TYPE)


async def _put_repository(asked: Asked) -> Response:
    user, name = asked.repository
    await asked.decided(asked.service.access.owner, asked.caller, user, "write", "repositories")
    body = await _record(asked)
    public = _decoded(body, RepositoryRecord).public
    if public and not asked.service.policy.repositories.public:
        raise Forbidden('This registry has no public repositories: put {"public":false}')
    return _put(await asked.on_a_thread(asked.service.store.put_repository, user, name, body, public=public))


async def _get_tags(asked: Asked) -> Response:
    repository = await asked.decided(asked.service.access.readable, asked.caller, *asked.repository)
    return _content(msgspec.json.encode(await asked.on_a_thread(asked.service.store.tags, repository.id)), JSON_TYPE)


async def _search(asked: Asked) -> Response:
    words = asked.request.query_params.getlist("q")
    if len(words) > MAX_WORDS or any(len(word) > MAX_WORD for word in words):
        raise Malformed(f"A search has at most {MAX_WORDS} words of {MAX_WORD} characters")
    found = await asked.on_a_thread(asked.service.store.search, words, MAX_FOUND)
    rows = [{"repository": name, "tag": tag, "digest": root.sha256} for name, tag, root in found]
    return _content(msgspec.json.encode(rows), JSON_TYPE)


async def _get_tag(asked: Asked) -> Response:
    repository = await _readable(asked)
    found = await asked.on_a_thread(asked.service.store.tag, repository, asked.tag)
    if found.yanked:
        raise Gone(f"Yanked: {found.yanked}")
    return _content(found.body, found.type)


async def _put_tag(asked: Asked) -> Response:
    repository = await _writable(asked)
    digests, length = _digests(asked.request), _length(asked.request)
    content_type = _one(asked.request, "content-type")
    body = await _body(asked, length, reading.MAX_TAG)
    _check(body, digests)
    root = reading.read_tag(body, content_type)
    put = partial(asked.service.store.put_tag, repository, asked.tag, content_type, body, root)
    return _put(await asked.on_a_thread(put))


async def _delete_tag(asked: Asked) -> Response:
    owned = asked.service.access.owned
    repository = await asked.decided(owned, asked.caller, *asked.repository, "manage", "tags")
    reason = asked.request.query_params.get("reason", "")
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise Malformed(f"A reason is one line of at most {MAX_REASON} characters")
    await asked.on_a_thread(asked.service.store.yank, repository, asked.tag, reason or "no reason given")
    return Response(status_code=204)


async def _get_node(asked: Asked) -> Response:
    repository = await _readable(asked)
    store = asked.service.store
    entry = await asked.on_a_thread(store.node, repository, asked.tag, asked.path)
    file = await asked.on_a_thread(store.blobs.path(entry.hex).open, "rb")

    async def chunks() -> AsyncIterator[bytes]:
        with file:
            while chunk := await asked.on_a_thread(file.read, CHUNK):
                yield chunk

    if asked.request.method == "HEAD":
        file.close()
        return Response(headers=_headers(entry))
    return StreamingResponse(chunks(), headers=_headers(entry))


async def _put_node(asked: Asked) -> Response:
    repository = await _writable(asked)
    entry = await asked.on_a_thread(_expected, asked, repository)
    with ExitStack() as held:
        came = await asked.on_a_thread(held.enter_context, asked.service.store.receiving(repository, entry))
        await _receive(asked, came, entry.length)
        put = partial(asked.service.store.put_node, repository, asked.tag, asked.path, entry, came)
        return _put(await asked.on_a_thread(put))


def _expected(asked: Asked, repository: Repository) -> Entry:
    """What the node is to be: as its directory lists it, or as a root says of itself. Raises `DrawbridgeFault`."""
    said = Entry(
        _digests(asked.request), _length(asked.request), reading.media_type(_one(asked.request, "content-type"))
    )
    if not asked.path:
        asked.service.store.require_free(repository, asked.tag, said)
        return said
    listed = asked.service.store.expected(repository, asked.tag, asked.path, said.hex)
    if any(listed.digest.get(algorithm, text) != text for algorithm, text in said.digest.items()):
        raise Malformed("Content digest mismatch: the directory that lists this node names another digest")
    if listed.length != said.length:
        raise Malformed(f"Content length mismatch, expected: {listed.length}, got {said.length}")
    if listed.type != said.type:
        raise Malformed(f"Invalid content type: the directory that lists this node says {listed.type}")
    return listed


async def _readable(asked: Asked) -> Repository:
    return await asked.decided(asked.service.access.readable, asked.caller, *asked.repository, asked.tag)


async def _writable(asked: Asked) -> Repository:
    owned = asked.service.access.owned
    return await asked.decided(owned, asked.caller, *asked.repository, "write", "tags")


_HANDLERS: Final[Mapping[str, Mapping[str, Handler]]] = {
    "search": {"GET": _search},
    "user": {"GET": _get_user, "PUT": _put_user},
    "repository": {"GET": _get_repository, "PUT": _put_repository},
    "tags": {"GET": _get_tags},
    "tag": {"GET": _get_tag, "PUT": _put_tag, "DELETE": _delete_tag},
    "tree": {"GET": _get_node, "PUT": _put_node},
}
_METHODS: Final = ("GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "OPTIONS", "TRACE")


async def _record(asked: Asked) -> bytes:
    """The body of a user or a repository, whose digest need not be given."""
    if _one(asked.request, "content-type") != JSON_TYPE:
        raise Malformed("Invalid content type")
    digests = _digests(asked.request) if "content-digest" in asked.request.headers else {}
    body = await _body(asked, _length(asked.request), MAX_RECORD)
    _check(body, digests)
    return body


async def _body(asked: Asked, length: int, most: int) -> bytes:
    if length > most:
        raise TooLarge(f"A body has at most {most:,} bytes here")
    body = bytearray()
    async for chunk in _stream(asked, length):
        body += chunk
    return bytes(body)


async def _receive(asked: Asked, came: Incoming, length: int) -> None:
    pending = bytearray()
    async for chunk in _stream(asked, length):
        pending += chunk
        if len(pending) >= CHUNK:
            await asked.on_a_thread(came.write, bytes(pending))
            pending.clear()
    await asked.on_a_thread(came.write, bytes(pending))


async def _stream(asked: Asked, length: int) -> AsyncIterator[bytes]:
    """The body, in time and of this length. Raises `TooSlow`, `Malformed`."""
    loop, got = asyncio.get_running_loop(), 0
    begun, stream = loop.time(), asked.request.stream()
    while True:
        try:
            async with asyncio.timeout_at(begun + asked.service.patience.total_seconds() + got / SLOWEST):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise TooSlow("The body did not come in time") from None
        except ClientDisconnect:
            chunk = None
        if chunk is None:
            break
        got += len(chunk)
        if got > length:
            break
        yield chunk
    if got != length:
        raise Malformed(f"Content length mismatch, expected: {length}, got {got}")


def _check(body: bytes, digests: Mapping[str, str]) -> None:
    found = entry_of(body, "").digest
    if any(found[algorithm] != text for algorithm, text in digests.items()):
        raise Malformed("Content digest mismatch")


def _decoded(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"Failed to parse the body: {error}") from error


def _one(request: Request, name: str) -> str:
    """The value of a header that is there once; empty if it is not. Raises `Malformed`."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Malformed(f"The header {name} is there {len(values)} times")
    return values[0] if values else ""


def _length(request: Request) -> int:
    text = _one(request, "content-length")
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise Malformed("A valid Content-Length header is needed")
    return int(text)


def _digests(request: Request) -> dict[str, str]:
    """What Content-Digest says, on one line or several, sha-256 among it. Raises `Malformed`."""
    header = ",".join(request.headers.getlist("content-digest"))
    if not header:
        raise Malformed("At least one content digest value must be specified")
    try:
        found = content_digest.parse(header)
    except MalformedDigest as error:
        raise Malformed(f"Invalid Content-Digest header: {error}") from error
    if "sha-256" not in found:
        raise Malformed("Content-Digest must have a sha-256 value")
    return found


def _content(body: bytes, media_type: str) -> Response:
    return Response(body, headers=_headers(entry_of(body, media_type)))


def _headers(entry: Entry) -> dict[str, str]:
    return {
        "Content-Digest": content_digest.render(entry.digest),
        "Content-Length": str(entry.length),
        "Content-Type": entry.type,
        "X-Content-Type-Options": "nosniff",
    }


def _put(new: bool) -> Response:
    return Response(status_code=201 if new else 200)


def refuse(path: str, status: int, headers: Mapping[str, str]) -> Response:  # noqa: ARG001 — as gates call it
    """What a request is told that is not let in."""
    return PlainTextResponse(_REFUSED.get(status, "Refused"), status_code=status, headers=headers)


_REFUSED: Final = {
    400: "A body has one length",
    403: "Web pages are not answered",
    421: "This registry is not known by that name",
    429: "This address asks too often",
}


async def _fault(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, DrawbridgeFault)  # noqa: S101 — starlette's shape
    _log.info("%s %s: %s", request.method, quote(request.url.path)[:MAX_LOGGED], _one_line(str(exc)))
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(exc, Unauthorized) else {}
    return PlainTextResponse(str(exc), status_code=exc.status, headers=headers)


def _one_line(text: str) -> str:
    """What a stranger named goes to an operator's terminal."""
    return text if text.isprintable() else ascii(text)


async def _http_error(request: Request, exc: Exception) -> Response:  # noqa: ARG001 — starlette's shape
    assert isinstance(exc, HTTPException)  # noqa: S101 — starlette's shape
    return PlainTextResponse(exc.detail, status_code=exc.status_code, headers=exc.headers)


async def _failed(request: Request, exc: Exception) -> Response:  # noqa: ARG001 — uvicorn logs it
    return PlainTextResponse("Storage backend failure", status_code=500)
