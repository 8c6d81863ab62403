"""Writing DER (X.690): the few elements that cross the wire outside a certificate."""

from __future__ import annotations

from collections.abc import Iterable

from . import der


def element(tag: int, content: bytes) -> bytes:
    """One element with a definite length in its shortest form."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(members: Iterable[bytes]) -> bytes:
    """A SEQUENCE of members that are DER already."""
    return element(der.SEQUENCE, b"".join(members))
