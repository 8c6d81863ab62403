"""How a Drawbridge answers: with content and its digest, or with a status and an error as text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from . import content_digest
from .directory_form import Entry, entry_of
from .errors import DrawbridgeFault, Unauthorized

MAX_LOGGED: Final = 500
"""Most characters of a path in the log."""

_log = logging.getLogger("enarx_drawbridge")


def content(body: bytes, media_type: str) -> Response:
    """All of it at once, with its digest."""
    return Response(body, headers=content_headers(entry_of(body, media_type)))


def content_headers(entry: Entry) -> dict[str, str]:
    """What an entry says of its content."""
    return {
        "Content-Digest": content_digest.render(entry.digest),
        "Content-Length": str(entry.length),
        "Content-Type": entry.type,
        "X-Content-Type-Options": "nosniff",
    }


def stored(new: bool) -> Response:
    """That something is new, or that the very same was there."""
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


async def fault(request: Request, exc: Exception) -> Response:
    """What a fault says, which the log has too."""
    assert isinstance(exc, DrawbridgeFault)  # noqa: S101 — starlette's shape
    _log.info("%s %s: %s", request.method, quote(request.url.path)[:MAX_LOGGED], _one_line(str(exc)))
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(exc, Unauthorized) else {}
    return PlainTextResponse(str(exc), status_code=exc.status, headers=headers)


def _one_line(text: str) -> str:
    """What a stranger named goes to an operator's terminal."""
    return text if text.isprintable() else ascii(text)


async def http_error(request: Request, exc: Exception) -> Response:  # noqa: ARG001 — starlette's shape
    """What starlette refuses by itself."""
    assert isinstance(exc, HTTPException)  # noqa: S101 — starlette's shape
    return PlainTextResponse(exc.detail, status_code=exc.status_code, headers=exc.headers)


async def failed(request: Request, exc: Exception) -> Response:  # noqa: ARG001 — uvicorn logs it
    """That something failed here, and nothing of what it was."""
    return PlainTextResponse("Storage backend failure", status_code=500)
