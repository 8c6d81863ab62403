"""Modules as rows of sections (core specification, section 5.5.2): what can be left out, and where two differ."""

from __future__ import annotations

from collections.abc import Iterator

from enarx_deploy import wasm_binary
from enarx_deploy.wasm_binary import Reader

_HEADER = 8  # bytes: magic and version
_CUSTOM = 0
_FOR_DEBUGGERS = ("name", "sourceMappingURL", "external_debug_info")
_DWARF = ".debug_"


def strip(data: bytes) -> bytes:
    """The module without the names of its functions and without what is there for debuggers. Raises DamagedModuleError.

    What the sections that stay say is unchanged.
    """
    kept = (section for number, section, name in _sections(data) if number != _CUSTOM or not _is_for_debuggers(name))
    return data[:_HEADER] + b"".join(kept)


def first_difference(one: bytes, other: bytes) -> str:
    """Where two modules that differ do so first: the section, and the byte in it. Raises DamagedModuleError."""
    theirs = list(_sections(other))
    for index, (number, section, name) in enumerate(_sections(one)):
        title = _title(number, name)
        if index == len(theirs):
            return f"the second has no section {title}"
        other_number, other_section, other_name = theirs[index]
        if (number, name) != (other_number, other_name):
            return f"the first has section {title} where the second has {_title(other_number, other_name)}"
        if section != other_section:
            return f"section {title}, {_sizes(section, other_section)}, at its byte {_mismatch(section, other_section)}"
    return "the first has fewer sections"


def _sections(data: bytes) -> Iterator[tuple[int, bytes, str]]:
    """Number, bytes, and for a custom section its name."""
    for number, reader in wasm_binary.split(data):
        content = reader.take(reader.left)
        name = Reader(content, 0, len(content)).name() if number == _CUSTOM else ""
        yield number, bytes([number]) + _leb128(len(content)) + content, name


def _is_for_debuggers(name: str) -> bool:
    return name in _FOR_DEBUGGERS or name.startswith(_DWARF)


def _title(number: int, name: str) -> str:
    text = name if number == _CUSTOM else wasm_binary.section_name(number)
    return f"`{''.join(letter if letter.isprintable() else '?' for letter in text)}`"


def _sizes(one: bytes, other: bytes) -> str:
    return f"{len(one)} bytes" if len(one) == len(other) else f"{len(one)} and {len(other)} bytes"


def _mismatch(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
