"""The control stream: how host and Keep talk, before the workload runs, beside it and at its end.

A message is a JSON object behind its length (4 bytes, big-endian). A message with a `size` is followed by that many
raw bytes. Both ends use this module; what the Keep receives is hostile and bounded here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from enarx_keep.errors import BadMessage

MESSAGE_LIMIT = 1 << 20
"""Most bytes of a message."""
PAYLOAD_LIMIT = 4_000_000_000
"""Most bytes behind a message."""
_PIECE = 1 << 20

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """A message as it is sent: its length in 4 bytes, big-endian, then JSON. Raises BadMessage."""
    text = json.dumps(message, separators=(",", ":")).encode()
    if len(text) > MESSAGE_LIMIT:
        raise BadMessage(f"a message of {len(text):,} bytes is too long")
    return len(text).to_bytes(4, "big") + text


def decode(text: bytes) -> Message:
    """A message without its length. Raises BadMessage."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage("a message is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise BadMessage("a message is not an object with a type")
    return message


class Reader:
    """Takes messages from a function that answers at most as many bytes as asked for, and none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def message(self) -> Message:
        """The next message. Raises BadMessage, EOFError at the end of the stream."""
        length = int.from_bytes(self.payload(4), "big")
        if length > MESSAGE_LIMIT:
            raise BadMessage(f"a message of {length:,} bytes is too long")
        return decode(self.payload(length))

    def payload(self, size: int) -> bytes:
        """Exactly `size` raw bytes. Raises BadMessage, EOFError."""
        if not 0 <= size <= PAYLOAD_LIMIT:
            raise BadMessage(f"{size:,} bytes are too many")
        pieces, left = [], size
        while left:
            piece = self._read(min(left, _PIECE))
            if not piece:
                raise EOFError
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def field(message: Message, name: str, kind: type[Any]) -> Any:
    """A field of a message, of the type it must have. Raises BadMessage."""
    value = message.get(name)
    if type(value) is not kind:
        raise BadMessage(f"message {message['type']!r}: {name} is not of type {kind.__name__}")
    return value


def data(message: Message, name: str) -> bytes:
    """A field of bytes. Raises BadMessage."""
    return decoded(field(message, name, str), f"message {message['type']!r}: {name}")


def decoded(text: object, what: str) -> bytes:
    """Bytes as they travel in a message: base64. Raises BadMessage that names `what`."""
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # TypeError is the check
    except (TypeError, ValueError) as error:
        raise BadMessage(f"{what} is not base64") from error


def encoded(content: bytes) -> str:
    """The same, the other way."""
    return base64.b64encode(content).decode()
