"""How a Steward answers: in JSON below `/v1`, and with a problem of RFC 9457 there; with a status alone elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from .appraisal import Appraisal
from .errors import MalformedRequest, Overloaded, Refused, SecretUnreadable, StewardFault, Unattested, Unavailable
from .messages import Problem

RETRY_AFTER: Final = timedelta(seconds=30)
"""When to ask again, if the Steward cannot answer now."""


class Kind(NamedTuple):
    """A kind of problem."""

    status: int
    code: str
    title: str


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            Kind(400, "malformed", "The request cannot be read"),
            Kind(403, "refused", "The evidence was appraised and refused"),
            Kind(403, "not-public", "The policy does not make this public"),
            Kind(403, "origin", "No web page may ask a Steward"),
            Kind(404, "not-found", "There is nothing here"),
            Kind(405, "method", "This is not how it is asked"),
            Kind(408, "timeout", "The body did not come in time"),
            Kind(413, "too-large", "The body is too large"),
            Kind(415, "media-type", "The body is not application/json"),
            Kind(421, "host", "This Steward is not known by that name"),
            Kind(429, "rate", "This address asks too often"),
            Kind(500, "internal", "The Steward failed"),
            Kind(503, "overloaded", "Too many challenges are open"),
            Kind(503, "secret", "The Steward cannot read a secret"),
            Kind(503, "unavailable", "The Steward's database cannot be used"),
        )
    }
)
"""By code."""
_OF_FAULT: Final[Mapping[type[StewardFault], str]] = {
    MalformedRequest: "malformed",
    Refused: "refused",
    Overloaded: "overloaded",
    SecretUnreadable: "secret",
    Unavailable: "unavailable",
}
_OF_STATUS: Final = {
    kind.status: kind for kind in KINDS.values() if kind.code not in {"malformed", "origin", *_OF_FAULT.values()}
}
"""Of what is not a fault of the Steward's own tree."""
_ENARX_STATUS: Final[Mapping[type[StewardFault], int]] = {
    MalformedRequest: 400,
    Unattested: 401,
    Refused: 400,
    Unavailable: 503,
}


def json(
    record: object,
    *,
    status: int = 200,
    media_type: Literal["application/json", "application/problem+json"] = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer in JSON, which nobody on the way keeps."""
    return Response(
        msgspec.json.encode(record),
        status_code=status,
        media_type=media_type,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def fault(path: str, why: StewardFault) -> Response:
    """What a request for `path` is told of a fault."""
    if not _speaks_json(path):
        return Response(status_code=_ENARX_STATUS.get(type(why), 500))
    kind = KINDS[_OF_FAULT[type(why)]]
    problem = Problem(
        title=kind.title,
        status=kind.status,
        detail=str(why),
        code=kind.code,
        hint=why.hint or UNSET,
        checks=why.failed if isinstance(why, Refused) else UNSET,
        appraisal=_appraisal(why) if isinstance(why, Refused) else UNSET,
    )
    return _problem(problem, _retry_after() if isinstance(why, Overloaded | SecretUnreadable | Unavailable) else {})


def error(path: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """What a request for `path` is told that fails before or beside the Steward's decision, by its status."""
    if not _speaks_json(path):
        return Response(status_code=status, headers=headers)
    kind = _OF_STATUS.get(status, Kind(status, "http", f"HTTP status {status}"))
    return _problem(Problem(title=kind.title, status=status, detail=_detail(path, kind), code=kind.code), headers or {})


def of_a_web_page(path: str, status: int, headers: Mapping[str, str]) -> Response:
    """What a request for `path` is told that a web page makes."""
    if not _speaks_json(path):
        return Response(status_code=status, headers=headers)
    kind = KINDS["origin"]
    checks = ("request.origin",)
    return _problem(
        Problem(title=kind.title, status=status, detail=_detail(path, kind), code=kind.code, checks=checks), headers
    )


def _detail(path: str, kind: Kind) -> str:
    return f"{path}: {kind.title[0].lower()}{kind.title[1:]}"


def _appraisal(why: Refused) -> Appraisal:
    return why.appraisal or Appraisal(ok=False, checks=why.checks)


def _problem(problem: Problem, headers: Mapping[str, str]) -> Response:
    return json(problem, status=problem.status, media_type="application/problem+json", headers=headers)


def _retry_after() -> dict[str, str]:
    return {"Retry-After": str(int(RETRY_AFTER.total_seconds()))}


def _speaks_json(path: str) -> bool:
    return path.startswith("/v1/")
