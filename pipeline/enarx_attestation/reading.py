"""Reading text formats that strangers send: every way to fail is one error."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

import msgspec

Shape = TypeVar("Shape")


def read_json(data: bytes, shape: type[Shape], failure: Callable[[str], Exception]) -> Shape:
    """JSON of a shape, or `failure` of what is wrong with it."""
    try:
        return msgspec.json.decode(data, type=shape)
    # A document that is nested too deep is malformed, and does not take the verifier down.
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise failure(str(exc)) from exc


def read_base64(text: str, failure: Callable[[str], Exception]) -> bytes:
    """Base64 in either alphabet, padded or not, and nothing else; or `failure`."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise failure(f"not base64: {exc}") from exc
