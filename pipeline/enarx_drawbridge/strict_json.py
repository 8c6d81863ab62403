"""JSON that all programs read alike: what one would take for this and another for that is refused."""

from __future__ import annotations

import json
from typing import Any


def read(data: bytes) -> Any:
    """The value of a document in which no object has a name twice, every text is Unicode and every number JSON's.

    Raises ValueError, RecursionError.
    """
    found = json.loads(data.decode(), object_pairs_hook=_each_once, parse_constant=_refuse_constant)
    if b"\\u" in data:
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair cannot be
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
