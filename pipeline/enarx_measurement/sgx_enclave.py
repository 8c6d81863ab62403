"""MRENCLAVE: what the CPU measures while an enclave is built (Intel SDM volume 3D, ECREATE, EADD and EEXTEND).

SHA-256 over records of 64 bytes, each beginning with the name of its instruction; behind an EEXTEND come the 256 bytes
that it measured.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Iterable
from enum import IntFlag
from typing import Final, NamedTuple

from .errors import MeasurementFault

PAGE: Final = 4096
_CHUNK: Final = 256
_BATCH: Final = 1 << 12  # pages
_EADD: Final = int.from_bytes(b"EADD", "little")
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


class Unmeasured(NamedTuple):
    """Pages in a row of which only that they are there is measured; a large enclave has millions."""

    places: range
    flags: PageFlags


def mrenclave(size: int, ssa_frame_pages: int, pages: Iterable[Page | Unmeasured]) -> bytes:
    """32 bytes. `size` is the enclave's in bytes, a power of two; pages count in the order in which they are added.

    Raises MeasurementFault where no CPU would build it.
    """
    if size < 2 * PAGE or size & (size - 1):
        raise MeasurementFault(f"the size of an enclave is a power of two, and not {size:#x}")
    digest = hashlib.sha256(struct.pack("<8sIQ44x", b"ECREATE", ssa_frame_pages, size))
    for part in pages:
        places = part.places if isinstance(part, Unmeasured) else range(part.offset, part.offset + PAGE, PAGE)
        if places and (places[0] % PAGE or places.step != PAGE or not 0 <= places[0] <= places[-1] < size):
            raise MeasurementFault(f"there is no page at {places[0]:#x} of this enclave")
        for start in range(0, len(places), _BATCH):
            digest.update(_added(places[start : start + _BATCH], part.flags))
        if isinstance(part, Page) and part.content is not None:
            digest.update(_measured(part.offset, part.content))
    return digest.digest()


def _added(places: range, flags: PageFlags) -> bytes:
    """A record of eight words for each page."""
    words = array("Q", (_EADD, 0, flags, 0, 0, 0, 0, 0)) * len(places)
    words[1::8] = array("Q", places)
    return words.tobytes()


def _measured(offset: int, content: bytes) -> bytes:
    if len(content) != PAGE:
        raise MeasurementFault(f"a page has {PAGE:,} bytes, and not {len(content):,}")
    chunks = range(0, PAGE, _CHUNK)
    return b"".join(_EXTENDED.pack(b"EEXTEND", offset + at) + content[at : at + _CHUNK] for at in chunks)
