"""The Steward over HTTP: Enarx's protocol at `/`, and the v1 protocol below `/v1`.

    GET  /                200, empty: it is alive
    POST /                Enarx's protocol, see `enarx_protocol`: 200, or 400, 401, 413 and 500 with an empty body
    GET  /v1/info         {"audience", "transport", "root_pem", "roots_pem", "intermediates", "policy_sha256",
                           "accepts"}
    POST /v1/nonce        {"nonce", "expires"}; the nonce answers once, within two minutes
    POST /v1/certificate  {"csr", "nonce", "evidence": {"kind", "data"}, "package"?, "endorsements"?: {name: bytes},
                           "signatures"?: [bytes]}
                          -> {"chain": [leaf, …, root], "appraisal": {"ok", "kind", "status", "claims", "checks"}}
    POST /v1/renew        the same, and {"chain"} of the certificate whose place the new one takes
    POST /v1/secrets      {"names", "key", "nonce", "evidence", "package"?, "endorsements"?}
                          -> {"secrets": [{"name", "sealed"}, …], "signature", "appraisal"}, see `release`
    GET  /v1/health       {"status": "ready"}; 503 while the database does not answer
    GET  /v1/log/head     {"seq", "hash", "time", "signature", "chain"}: the end of the issuance log, signed
    GET  /v1/openapi.json all of this as OpenAPI 3.1 has it
    GET  /v1/log          ?after=SEQ&limit=N -> {"entries": [{"seq", "time", "body", "prev", "hash"}, …], "next"}

Bytes in JSON are base64, certificates and requests are DER. What goes wrong below `/v1` is answered as RFC 9457 has it,
`application/problem+json`, with a stable `code` and, for a refusal (403), the ids of the failed checks. What carries an
`Origin` header comes from a web page, and is refused (403).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Final, ParamSpec, TypeVar

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from enarx_service import body
from enarx_service.gates import KnownHosts, LimitedRate, NoWebPage, OneLength

from . import answers, checkpoint, openapi
from .ca import Authority, policy_of
from .database import POOL_SIZE
from .enarx_protocol import HANDLERS, MAX_BODY, MEDIA_TYPE_OUT
from .errors import MalformedRequest, SecretUnreadable, StewardFault
from .issuance import Steward, utc_now
from .issuance_log import MAX_PAGE, IssuanceLog
from .messages import CertificateBody, Health, Info, Intermediate, LogPage, RenewalBody, SecretsBody
from .options import Transport

BODY_TIMEOUT: Final = timedelta(seconds=30)
"""Within which a body must have come."""
UNLIMITED: Final = frozenset({("GET", "/"), ("HEAD", "/"), ("GET", "/v1/health"), ("HEAD", "/v1/health")})
"""What a monitor asks, also of a Steward that is asked a great deal."""

THREADS: Final = 2 * POOL_SIZE
"""On which requests are decided: as many as there can be connections to the database."""

Posted = TypeVar("Posted", bound=msgspec.Struct)
Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_log = logging.getLogger("enarx_steward")

_certificate_body = msgspec.json.Decoder(CertificateBody)
_renewal_body = msgspec.json.Decoder(RenewalBody)
_secrets_body = msgspec.json.Decoder(SecretsBody)


def make_app(
    steward: Steward,
    *,
    hosts: Collection[str] | None = None,
    transport: Transport = "loopback-http",
    body_timeout: timedelta = BODY_TIMEOUT,
    outermost: Sequence[Middleware] = (),
) -> Starlette:
    """The ASGI application. With `hosts`, a request whose Host header names another host is refused (421).

    One that a web page makes is always refused (403). `transport` is told to whoever asks; `outermost` sees every
    request before anything else does.
    """
    routes = [
        Route("/", _enarx, methods=["GET", "POST"]),
        Route("/v1/info", _info, methods=["GET"]),
        Route("/v1/nonce", _nonce, methods=["POST"]),
        Route("/v1/certificate", _certificate, methods=["POST"]),
        Route("/v1/renew", _renew, methods=["POST"]),
        Route("/v1/secrets", _secrets, methods=["POST"]),
        Route("/v1/health", _health, methods=["GET"]),
        Route("/v1/log", _log_page, methods=["GET"]),
        Route("/v1/log/head", _log_head, methods=["GET"]),
        Route("/v1/openapi.json", _openapi, methods=["GET"]),
    ]
    # A refusal of evidence is an entry in the log, which nobody may grow at will.
    limited = Middleware(LimitedRate, answers.error, limits=lambda: steward.policy.limits, unlimited=UNLIMITED)
    # A page of whatever site would have the browser of this machine's user open challenges and fill the log.
    no_web_page = Middleware(NoWebPage, answers.of_a_web_page)
    middleware = [*outermost, Middleware(OneLength, answers.error), limited, no_web_page]
    if hosts is not None:
        middleware.append(Middleware(KnownHosts, answers.error, hosts=frozenset(hosts)))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _http_error, StewardFault: _fault, Exception: _failed},
    )
    app.state.steward = steward
    app.state.transport = transport
    app.state.body_timeout = body_timeout
    app.state.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="steward")
    return app


async def _enarx(request: Request) -> Response:
    if request.method != "POST":
        return Response()
    handler = HANDLERS.get(request.headers.get("content-type", "").strip().lower())
    if handler is None:
        return Response(status_code=400)
    body = await _body(request)
    answer = await _on_a_thread(request, handler, _steward(request), body)
    return Response(answer, media_type=MEDIA_TYPE_OUT)


async def _info(request: Request) -> Response:
    steward = _steward(request)
    version = steward.version
    return answers.json(
        Info(
            audience=steward.audience,
            transport=request.app.state.transport,
            root_pem=version.authority.root_pem,
            roots_pem=tuple(version.authority.root.pems),
            intermediates=tuple(_intermediates(version.authority)),
            policy_sha256=version.policy.sha256,
            accepts=tuple(sorted(version.policy.grants)),
        )
    )


def _intermediates(authority: Authority) -> Iterator[Intermediate]:
    for certificate in (authority.certificate, *(one.certificate for one in authority.predecessors)):
        yield Intermediate(
            policy_sha256=policy_of(certificate),
            sha256=certificate.fingerprint(SHA256()).hex(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


async def _nonce(request: Request) -> Response:
    steward = _steward(request)
    challenge = await _on_a_thread(request, steward.challenge) if steward.shares_challenges else steward.challenge()
    return answers.json(challenge)


async def _certificate(request: Request) -> Response:
    return await _certify(request, await _posted(request, _certificate_body))


async def _renew(request: Request) -> Response:
    asked = await _posted(request, _renewal_body)
    return await _certify(request, asked, renewed=asked.chain)


async def _posted(request: Request, decoder: msgspec.json.Decoder[Posted]) -> Posted:
    # A browser asks first before it sends this type across sites, and is not answered.
    if request.headers.get("content-type", "").strip().lower() != "application/json":
        raise HTTPException(415)
    try:
        return decoder.decode(await _body(request))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedRequest(f"the body is not as it should be: {exc}") from exc


async def _certify(request: Request, asked: CertificateBody, renewed: tuple[bytes, ...] | None = None) -> Response:
    certified = await _on_a_thread(
        request,
        _steward(request).certify,
        request=asked.csr,
        nonce=asked.nonce,
        kind=asked.evidence.kind,
        evidence=asked.evidence.data,
        package=asked.package,
        endorsements=asked.endorsements,
        signatures=asked.signatures,
        renewed=renewed,
    )
    return answers.json(certified)


async def _secrets(request: Request) -> Response:
    asked = await _posted(request, _secrets_body)
    released = await _on_a_thread(
        request,
        _steward(request).release,
        names=asked.names,
        key=asked.key,
        nonce=asked.nonce,
        kind=asked.evidence.kind,
        evidence=asked.evidence.data,
        package=asked.package,
        endorsements=asked.endorsements,
        certified_by=asked.certified_by,
    )
    return answers.json(released)


async def _health(request: Request) -> Response:
    """Ready to issue: the database answers. `GET /` says that the process lives."""
    await _on_a_thread(request, _the_log(request).head)
    return answers.json(Health())


async def _log_head(request: Request) -> Response:
    head = await _on_a_thread(request, _the_log(request).head)
    return answers.json(checkpoint.sign(_steward(request).authority, head, utc_now()))


async def _log_page(request: Request) -> Response:
    if not _steward(request).policy.log_public:
        raise HTTPException(403)
    after, limit = _number(request, "after", 0, 0, 2**63 - 1), _number(request, "limit", 100, 1, MAX_PAGE)
    entries = await _on_a_thread(request, _the_log(request).read, after, limit)
    return answers.json(LogPage(entries, entries[-1].seq if len(entries) == limit else None))


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A number of the query. Raises `MalformedRequest`."""
    values = request.query_params.getlist(name) or [str(default)]
    text = values[0] if len(values) == 1 else ""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if not least <= number <= most:
        raise MalformedRequest(f"`{name}` must be a number from {least} to {most}")
    return number


async def _body(request: Request) -> bytes:
    """The body, at most 2 MiB, within the time for it."""
    return await body.read(request, MAX_BODY, request.app.state.body_timeout)


async def _openapi(request: Request) -> Response:  # noqa: ARG001 — starlette's shape
    return answers.json(openapi.document())


async def _fault(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, StewardFault)  # noqa: S101 — starlette's shape
    _log.info("%s %s: %s", request.method, request.url.path, exc)
    if isinstance(exc, SecretUnreadable):
        _log.error("%s: %s", exc, exc.why)
    return answers.fault(request.url.path, exc)


async def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101 — starlette's shape
    return answers.error(request.url.path, exc.status_code, dict(exc.headers or {}))


async def _failed(request: Request, exc: Exception) -> Response:  # noqa: ARG001 — uvicorn logs it
    return answers.error(request.url.path, 500)


async def _on_a_thread(
    request: Request, function: Callable[Given, Answer], /, *args: Given.args, **kwargs: Given.kwargs
) -> Answer:
    """Do there what computes or waits, so that others are answered meanwhile."""
    threads: ThreadPoolExecutor = request.app.state.threads
    return await asyncio.get_running_loop().run_in_executor(threads, partial(function, *args, **kwargs))


def _steward(request: Request) -> Steward:
    steward: Steward = request.app.state.steward
    return steward


def _the_log(request: Request) -> IssuanceLog:
    log = _steward(request).log
    if log is None:
        raise HTTPException(404)
    return log
