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

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from enarx_service.connections import PEER_CERTIFICATE
from enarx_service.gates import KnownHosts, LimitedRate, NoWebPage, OneLength

from . import names, reading
from .access import Access, Caller
from .answers import content, content_headers, failed, fault, http_error, refuse, stored
from .asked import (
    CHUNK,
    JSON_TYPE,
    Asked,
    Service,
    body_of,
    check_digests,
    decoded,
    digests_of,
    header,
    length_of,
    receive,
    record_of,
)
from .database import Repository, User
from .directory_form import Entry
from .errors import (
    DrawbridgeFault,
    Forbidden,
    Gone,
    Malformed,
    NoSuchMethod,
    NotFound,
    OtherVersion,
    Unauthorized,
)
from .policy import Policy
from .store import Store

VERSION: Final = (0, 4, 3)
"""The latest version of the protocol that is spoken here."""
MAX_FOUND: Final = 1000
"""Most tags that a search answers with."""
MAX_WORDS: Final = 8
MAX_WORD: Final = 128
MAX_REASON: Final = 500
"""Most characters of the reason for a yank."""
THREADS: Final = 16
PATIENCE: Final = timedelta(seconds=30)
"""Within which a body must have come, were it empty."""
METADATA: Final = "/.well-known/oauth-protected-resource"
SCOPES: Final = ("manage:drawbridge_users", "manage:drawbridge_repositories", "manage:drawbridge_tags")
UNLIMITED: Final = frozenset({("GET", "/health"), ("HEAD", "/health")})

_API: Final = re.compile(r"/api/v([^/]*)(/.*)?", re.DOTALL)
_SEMVER: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+][0-9A-Za-z.+-]*)?")

Handler = Callable[[Asked], Awaitable[Response]]


class UserRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a user."""

    subject: str


class RepositoryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a repository."""

    public: bool


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
        exception_handlers={DrawbridgeFault: fault, HTTPException: http_error, Exception: failed},
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
    caller = Caller(header(request, "authorization"), getattr(request.state, PEER_CERTIFICATE, None))
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
    return content(msgspec.json.encode(document | client), JSON_TYPE)


async def _get_user(asked: Asked) -> Response:
    user = names.check(asked.names[0], names.USER)
    await asked.decided(asked.service.access.owner, asked.caller, user, "read", "users")
    found = await asked.on_a_thread(asked.service.store.user, user)
    assert found is not None  # noqa: S101 — it has an owner
    return content(found.body, JSON_TYPE)


async def _put_user(asked: Asked) -> Response:
    user = names.check(asked.names[0], names.USER)
    identity = await asked.decided(asked.service.access.identify, asked.caller, "write", "users")
    body = await record_of(asked)
    if decoded(body, UserRecord).subject != identity.subject:
        raise Unauthorized("OpenID Connect subject mismatch")
    return stored(await asked.on_a_thread(asked.service.store.put_user, User(user, identity.subject, body)))


async def _get_repository(asked: Asked) -> Response:
    owned = asked.service.access.owned
    found = await asked.decided(owned, asked.caller, *asked.repository, "read", "repositories")
    return content(found.body, JSON_TYPE)


async def _put_repository(asked: Asked) -> Response:
    user, name = asked.repository
    await asked.decided(asked.service.access.owner, asked.caller, user, "write", "repositories")
    body = await record_of(asked)
    public = decoded(body, RepositoryRecord).public
    if public and not asked.service.policy.repositories.public:
        raise Forbidden('This registry has no public repositories: put {"public":false}')
    return stored(await asked.on_a_thread(asked.service.store.put_repository, user, name, body, public=public))


async def _get_tags(asked: Asked) -> Response:
    repository = await asked.decided(asked.service.access.readable, asked.caller, *asked.repository)
    return content(msgspec.json.encode(await asked.on_a_thread(asked.service.store.tags, repository.id)), JSON_TYPE)


async def _search(asked: Asked) -> Response:
    words = asked.request.query_params.getlist("q")
    if len(words) > MAX_WORDS or any(len(word) > MAX_WORD for word in words):
        raise Malformed(f"A search has at most {MAX_WORDS} words of {MAX_WORD} characters")
    found = await asked.on_a_thread(asked.service.store.search, words, MAX_FOUND)
    rows = [{"repository": name, "tag": tag, "digest": root.sha256} for name, tag, root in found]
    return content(msgspec.json.encode(rows), JSON_TYPE)


async def _get_tag(asked: Asked) -> Response:
    repository = await _readable(asked)
    found = await asked.on_a_thread(asked.service.store.tag, repository, asked.tag)
    if found.yanked:
        raise Gone(f"Yanked: {found.yanked}")
    return content(found.body, found.type)


async def _put_tag(asked: Asked) -> Response:
    repository = await _writable(asked)
    digests, length = digests_of(asked.request), length_of(asked.request)
    content_type = header(asked.request, "content-type")
    body = await body_of(asked, length, reading.MAX_TAG)
    check_digests(body, digests)
    root = reading.read_tag(body, content_type)
    put = partial(asked.service.store.put_tag, repository, asked.tag, content_type, body, root)
    return stored(await asked.on_a_thread(put))


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
        return Response(headers=content_headers(entry))
    return StreamingResponse(chunks(), headers=content_headers(entry))


async def _put_node(asked: Asked) -> Response:
    repository = await _writable(asked)
    entry = await asked.on_a_thread(_expected, asked, repository)
    with ExitStack() as held:
        came = await asked.on_a_thread(held.enter_context, asked.service.store.receiving(repository, entry))
        await receive(asked, came, entry.length)
        put = partial(asked.service.store.put_node, repository, asked.tag, asked.path, entry, came)
        return stored(await asked.on_a_thread(put))


def _expected(asked: Asked, repository: Repository) -> Entry:
    """What the node is to be: as its directory lists it, or as a root says of itself. Raises `DrawbridgeFault`."""
    said = Entry(
        digests_of(asked.request), length_of(asked.request), reading.media_type(header(asked.request, "content-type"))
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
