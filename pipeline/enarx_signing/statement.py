"""Statements about things that their digests name: in-toto Attestation Framework, Statement v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from .errors import MalformedEnvelope

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
MAX_SUBJECTS: Final = 64

_Name = Annotated[str, msgspec.Meta(max_length=1024)]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){16,64}\Z")]


class Subject(msgspec.Struct, frozen=True):
    """What a statement is about: a name for people, and digests in hexadecimal by algorithm."""

    name: _Name
    digest: Annotated[dict[str, _Hex], msgspec.Meta(min_length=1, max_length=8)]


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A statement; what its predicate means, the predicate's type says."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type", default=STATEMENT_TYPE)
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=1, max_length=MAX_SUBJECTS)]
    predicate_type: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    predicate: dict[str, Any] = {}

    def is_about(self, digest: str) -> bool:
        """Whether it is about what `digest` (`sha256:` and 64 hex digits) names, and nothing else."""
        return all(f"sha256:{subject.digest.get('sha256')}" == digest for subject in self.subject)


def about(digest: str, name: str, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A statement, as canonical JSON, about one thing. `digest` is `sha256:` and 64 hex digits."""
    subject = Subject(name, {"sha256": digest.removeprefix("sha256:")})
    statement = Statement(subject=(subject,), predicate_type=predicate_type, predicate=dict(predicate))
    return msgspec.json.encode(statement, order="deterministic")


def read(data: bytes) -> Statement:
    """Read a statement. Raises MalformedEnvelope."""
    try:
        return msgspec.json.decode(data, type=Statement)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedEnvelope(f"this is not an in-toto statement: {exc}") from exc
