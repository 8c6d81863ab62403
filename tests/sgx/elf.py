"""A PAL for tests: a shared library that is made here, of two segments."""

from __future__ import annotations

import struct

PAGE = 4096
ENTRY = 0x1234


def elf(*segments: tuple[int, int, int, bytes, int], entry: int = ENTRY) -> bytes:
    """A shared library (ELF64) of these segments: offset, address, flags, content and size in memory."""
    headers = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, len(content), size, PAGE)
        for offset, address, flags, content, size in segments
    )
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    file = bytearray(
        identity + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, entry, 64, 0, 0, 64, 56, len(segments), 64, 0, 0) + headers
    )
    for offset, _, _, content, _ in segments:
        file = file.ljust(offset + len(content), b"\0")
        file[offset : offset + len(content)] = content
    return bytes(file)


CODE = bytes(range(1, 251)) * 20
"""More than a page."""
DATA = b"data"
PAL = elf((0x1000, 0, 5, CODE, len(CODE)), (0x3F00, 0x2F00, 6, DATA, 0x1200))
"""Two pages of code; then data whose first page begins before it, and which goes on in memory."""
