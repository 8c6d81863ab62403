"""The Steward's protocols as OpenAPI 3.1 has them, made from the types that decode and encode what travels."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from .answers import KINDS
from .checkpoint import SignedHead
from .enarx_protocol import HANDLERS, MEDIA_TYPE_OUT
from .issuance import Certified, Challenge
from .issuance_log import MAX_PAGE
from .messages import CertificateBody, Health, Info, LogPage, Problem, RenewalBody, SecretsBody
from .release import Released

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_TITLE: Final = "Steward"
_DESCRIPTION: Final = (
    "Appraises evidence of Keeps under a policy, and issues certificates on it. Bytes are base64; certificates and "
    "requests are DER. `/` is Enarx's own protocol, whose errors have an empty body."
)


class Operation(NamedTuple):
    """What can be asked below `/v1`."""

    method: str
    path: str
    summary: str
    answer: type[msgspec.Struct] | None
    """None for this document."""
    problems: tuple[str, ...] = ()
    """Codes of what can go wrong, beside what can with every request."""
    body: type[msgspec.Struct] | None = None
    parameters: Mapping[str, Json] = {}
    """Of the query, by name: their schemas."""


_ALWAYS: Final = ("host", "origin", "rate", "internal")
_POSTED: Final = ("malformed", "refused", "timeout", "too-large", "media-type", "unavailable")
_PAGE: Final = {
    "after": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 100},
}

OPERATIONS: Final = (
    Operation("get", "/v1/info", "What the Steward says of itself.", Info),
    Operation("post", "/v1/nonce", "A challenge, which is good once.", Challenge, ("overloaded", "unavailable")),
    Operation("post", "/v1/certificate", "A certificate, on evidence.", Certified, _POSTED, CertificateBody),
    Operation("post", "/v1/renew", "A certificate in the place of another.", Certified, _POSTED, RenewalBody),
    Operation(
        "post", "/v1/secrets", "Secrets, sealed to a key, on evidence.", Released, (*_POSTED, "secret"), SecretsBody
    ),
    Operation("get", "/v1/health", "Whether it can issue: whether the database answers.", Health, ("unavailable",)),
    Operation(
        "get",
        "/v1/log",
        "Entries of the issuance log.",
        LogPage,
        ("malformed", "not-public", "unavailable"),
        parameters=_PAGE,
    ),
    Operation("get", "/v1/log/head", "The end of the issuance log, signed.", SignedHead, ("unavailable",)),
    Operation("get", "/v1/openapi.json", "This document.", None),
)


def document() -> Json:
    """The document, of plain values."""
    types = [kind for one in OPERATIONS for kind in (one.answer, one.body) if kind is not None]
    _, schemas = msgspec.json.schema_components([*dict.fromkeys(types), Problem], ref_template=_REF)
    paths: Json = {"/": _enarx()}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": "1", "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": {name: _portable(schemas[name]) for name in sorted(schemas)}},
    }


def _operation(one: Operation) -> Json:
    answer = {"type": "object"} if one.answer is None else _ref(one.answer)
    described: Json = {
        "summary": one.summary,
        "responses": {"200": _response("The answer.", "application/json", answer)} | _problems(one.problems + _ALWAYS),
    }
    if one.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(one.body)}}}
    if one.parameters:
        described["parameters"] = [
            {"name": name, "in": "query", "schema": schema} for name, schema in one.parameters.items()
        ]
    return described


def _problems(codes: Iterable[str]) -> Json:
    """The responses for some kinds of problems, by status."""
    kinds = sorted(KINDS[code] for code in codes)
    found: Json = {}
    for status in dict.fromkeys(kind.status for kind in kinds):
        told = "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds if kind.status == status)
        found[str(status)] = _response(f"{told}.", "application/problem+json", _ref(Problem)) | _retry_after(status)
    return found


def _enarx() -> Json:
    """Enarx's protocol."""
    binary: Json = {"schema": {"type": "string", "format": "binary"}}
    statuses = (400, 401, 403, 408, 413, 421, 429, 500, 503)
    errors = {
        str(status): {"description": f"{HTTPStatus(status).phrase}."} | _retry_after(status) for status in statuses
    }
    return {
        "get": {
            "summary": "Whether it lives.",
            "responses": {"200": {"description": "It does."}} | {status: errors[status] for status in ("403", "421")},
        },
        "post": {
            "summary": "A certificate, on evidence in the certificate request.",
            "requestBody": {"required": True, "content": dict.fromkeys(HANDLERS, binary)},
            "responses": {"200": {"description": "DER.", "content": {MEDIA_TYPE_OUT: binary}}} | errors,
        },
    }


def _response(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _retry_after(status: int) -> Json:
    if status not in {429, 503}:
        return {}
    return {"headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}}


def _ref(kind: type[msgspec.Struct]) -> Json:
    return {"$ref": _REF.format(name=kind.__name__)}


def _portable(schema: Any) -> Any:
    """A schema for readers other than Python: their patterns have no `\\Z`, and `$` means just that there."""
    if isinstance(schema, list):
        return [_portable(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _portable(value) for key, value in schema.items()}
    if isinstance(plain.get("pattern"), str):
        plain["pattern"] = plain["pattern"].replace(r"\Z", "$")
    if isinstance(plain.get("description"), str):
        plain["description"] = inspect.cleandoc(plain["description"])
    return plain
