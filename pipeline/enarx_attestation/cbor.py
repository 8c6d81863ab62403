"""A reader and writer of CBOR (RFC 8949), strict and bounded: as much as attestation uses.

Definite lengths only, lengths and integers in their shortest form, no floats, no duplicate keys, limited depth.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

MAX_DEPTH: Final = 8
MAX_ITEMS: Final = 1024
"""Most items of one array or map."""

_SIMPLE: Final[dict[int, Any]] = {20: False, 21: True, 22: None}


class CborError(ValueError):
    """The bytes are not CBOR of the shape that is read here."""


class Tag(NamedTuple):
    """A tagged value."""

    number: int
    value: Any


def decode(data: bytes) -> Any:
    """The one item that `data` consists of. Raises `CborError`."""
    value, end = _item(data, 0, 0)
    if end != len(data):
        raise CborError("bytes follow the item")
    return value


def encode(value: Any) -> bytes:
    """An item in the form in which `decode` reads it: the preferred serialisation, maps in the order that is given.

    Raises `TypeError` for a value that `decode` never answers.
    """
    match value:
        case bool() | None:
            return bytes([0xE0 | next(number for number, simple in _SIMPLE.items() if simple is value)])
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case Tag():
            return _head(6, value.number) + encode(value.value)
        case list() | tuple():
            return _head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            return _head(5, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    raise TypeError(f"no CBOR of a {type(value).__name__} is written here")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + number.to_bytes(size, "big")


def _item(data: bytes, start: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise CborError("too deep")
    major, number, position = _number(data, start)
    if major < 2:
        return (number if major == 0 else -1 - number), position
    if major < 4:
        end = position + number
        if end > len(data):
            raise CborError("a string is cut short")
        return (data[position:end] if major == 2 else _text(data[position:end])), end
    if major == 6:
        value, end = _item(data, position, depth + 1)
        return Tag(number, value), end
    if major == 7:
        if number not in _SIMPLE or position != start + 1:
            raise CborError("an unsupported simple value")
        return _SIMPLE[number], position
    return _container(data, position, number, depth, major == 5)


def _container(data: bytes, position: int, count: int, depth: int, is_map: bool) -> tuple[Any, int]:
    if count > MAX_ITEMS:
        raise CborError("too many items")
    values: list[Any] = []
    for _ in range(2 * count if is_map else count):
        value, position = _item(data, position, depth + 1)
        values.append(value)
    if not is_map:
        return values, position
    keys = values[::2]
    if not all(isinstance(key, int | str) for key in keys) or len(set(keys)) != count:
        raise CborError("a key is given twice, or is neither number nor text")
    return dict(zip(keys, values[1::2], strict=True)), position


def _number(data: bytes, start: int) -> tuple[int, int, int]:
    """Major type, number, and where the head ends."""
    if start >= len(data):
        raise CborError("an item is cut short")
    major, short = data[start] >> 5, data[start] & 0x1F
    if short < 24:
        return major, short, start + 1
    if short > 27:
        raise CborError("indefinite lengths are not supported")
    size = 1 << short - 24
    content = data[start + 1 : start + 1 + size]
    number = int.from_bytes(content, "big")
    if len(content) != size or number < (24 if size == 1 else 1 << 4 * size):
        raise CborError("a number is cut short or not in its shortest form")
    return major, number, start + 1 + size


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise CborError("text is not UTF-8") from exc
