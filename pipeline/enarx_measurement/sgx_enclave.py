"""MRENCLAVE: what the CPU measures while an enclave is built (Intel SDM volume 3D, ECREATE, EADD and EEXTEND).

SHA-256 over records of 64 bytes, each beginning with the name of its instruction; behind an EEXTEND come the 256 bytes
that it measured.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from enum import IntFlag
from typing import Final, NamedTuple

from .errors import MeasurementFault

PAGE: Final = 4096
_CHUNK: Final = 256
_BATCH: Final = 1 << 16
_ADDED: Final = struct.Struct("<8sQQ40x")
_EXTENDED: Final = struct.Struct("<8sQ48x")


class PageFlags(IntFlag):
    """SECINFO.FLAGS (Intel SDM volume 3D, section 38.11)."""

    R = 1 << 0
    W = 1 << 1
    X = 1 << 2
    TCS = 1 << 8
    REG = 2 << 8


class Page(NamedTuple):
    """One page as it is added: its place, its kind, and its content; None where the content is not measured."""

    offset: int
    flags: PageFlags
    content: bytes | None


def mrenclave(size: int, ssa_frame_pages: int, pages: Iterable[Page]) -> bytes:
    """32 bytes. `size` is the enclave's in bytes, a power of two; pages count in the order in which they are added.

    Raises MeasurementFault where no CPU would build it.
    """
    if size < 2 * PAGE or size & (size - 1):
        raise MeasurementFault(f"the size of an enclave is a power of two, and not {size:#x}")
    digest = hashlib.sha256(struct.pack("<8sIQ44x", b"ECREATE", ssa_frame_pages, size))
    records = bytearray()  # a large enclave has millions
    for offset, flags, content in pages:
        if offset % PAGE or not 0 <= offset < size:
            raise MeasurementFault(f"there is no page at {offset:#x} of this enclave")
        records += _ADDED.pack(b"EADD", offset, flags)
        if content is not None:
            records += _measured(offset, content)
        if len(records) > _BATCH:
            digest.update(records)
            records.clear()
    digest.update(records)
    return digest.digest()


def _measured(offset: int, content: bytes) -> bytes:
    if len(content) != PAGE:
        raise MeasurementFault(f"a page has {PAGE:,} bytes, and not {len(content):,}")
    chunks = range(0, PAGE, _CHUNK)
    return b"".join(_EXTENDED.pack(b"EEXTEND", offset + at) + content[at : at + _CHUNK] for at in chunks)
