"""How Gramine lays an enclave out, page by page, and so what it measures to; and what is asked of it when it is signed.

After Gramine's own signer, version 1.6 (`sgx_sign.py`, `pal_linux_defs.h`, `pal_tcb.h`, `sgx_arch.h`), without dynamic
memory. From the end of the enclave downwards, each area on a page, in the order in which they are measured too:

| area                   | pages               | rights | content                                                      |
|------------------------|---------------------|--------|--------------------------------------------------------------|
| manifest               | as many as it takes | r      | the manifest and a zero byte                                 |
| state save areas       | 8 for each thread   | rw     | zeros; two frames                                            |
| thread control (TCS)   | 1 for each thread   | TCS    | Intel SDM volume 3D, section 38.8                            |
| thread-local (TLS)     | 1 for each thread   | rw     | what the PAL starts with, by the table of `_tls` below       |
| stacks                 | 64 for each thread  | rw     | zeros                                                        |
| stacks of signals      | 16 for each thread  | rw     | zeros                                                        |
| PAL                    | its segments        | theirs | the file of `libpal.so`, and zeros behind                    |
| heap, from 64 KiB on   | the rest            | rwx    | not measured, but that the pages are there                   |
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from .errors import MeasurementFault
from .sgx_enclave import PAGE, Page, PageFlags, Unmeasured, mrenclave
from .sgx_sigstruct import Body

VERSION: Final = "1.6"
"""The version of Gramine whose signer this follows."""
SSA_FRAME_PAGES: Final = 4
_SSA_FRAMES: Final = 2
_SSA: Final = SSA_FRAME_PAGES * _SSA_FRAMES * PAGE
_STACK: Final = 64 * PAGE
_SIGNAL_STACK: Final = 16 * PAGE
_HEAP: Final = 0x10000
_REGISTERS_SIZE: Final = 184  # of an SSA frame, at its end
_CANARY: Final = 0xBADBADBADBAD
_LARGEST_PAL: Final = 1 << 26  # bytes
_ZERO_PAGE: Final = bytes(PAGE)

_REG: Final = PageFlags.REG
_RW: Final = PageFlags.REG | PageFlags.R | PageFlags.W
_RWX: Final = _RW | PageFlags.X
_SEGMENT_RIGHTS: Final = ((4, PageFlags.R), (2, PageFlags.W), (1, PageFlags.X))
"""By bit of a segment's flags in ELF."""

_MODE_64_BIT: Final = 1 << 2
_XFRM_LEGACY: Final = 0b11
_XFRM_MASK: Final = 0xFFFF_FFFF_FFF9_FF1B  # all but AVX, AVX-512 and AMX, which a machine may have or not
_ALL_BITS: Final = (1 << 64) - 1

PRODUCT_ID: Final = 1
SVN: Final = 1
"""What our enclaves say of themselves: ISVPRODID and ISVSVN. They stand in the manifest, too."""


class Enclave(NamedTuple):
    """`size` is in bytes, a power of two; `pal` is the content of Gramine's `libpal.so`."""

    manifest: bytes
    pal: bytes
    size: int
    threads: int


class _Segment(NamedTuple):
    address: int
    size: int
    content: bytes
    flags: PageFlags


class _Places(NamedTuple):
    """Where areas begin; an enclave begins at 0."""

    manifest: int
    ssa: int
    tcs: int
    tls: int
    stacks: int  # the end: they go downwards
    signal_stacks: int  # the end, likewise
    pal: int


def measure(enclave: Enclave) -> bytes:
    """MRENCLAVE, 32 bytes. Raises MeasurementFault."""
    return mrenclave(enclave.size, SSA_FRAME_PAGES, pages(enclave))


def body(measured: bytes) -> Body:
    """What a SIGSTRUCT asks of an enclave that measures so: no debugging, and no feature but those that it may have."""
    attributes = struct.pack("<QQ", _MODE_64_BIT, _XFRM_LEGACY)
    mask = struct.pack("<QQ", _ALL_BITS, _XFRM_MASK)
    return Body(0, 0xFFFF_FFFF, 0, 0, bytes(16), attributes, mask, measured, bytes(16), PRODUCT_ID, SVN)


def pages(enclave: Enclave) -> Iterator[Page | Unmeasured]:
    """All pages, in the order in which they are added. Raises MeasurementFault."""
    entry, segments = _segments(enclave.pal)
    manifest = enclave.manifest + b"\0"
    places = _places(enclave, len(manifest), max(segment.address + segment.size for segment in segments))
    threads = range(enclave.threads)
    yield from _filled(places.manifest, _REG | PageFlags.R, manifest)
    yield from _zeros(places.ssa, enclave.threads * _SSA, _RW)
    for thread in threads:
        yield Page(places.tcs + thread * PAGE, PageFlags.TCS, _tcs(places, entry, thread))
    for thread in threads:
        yield Page(places.tls + thread * PAGE, _RW, _tls(enclave, places, thread))
    for thread in threads:
        yield from _zeros(places.stacks - (thread + 1) * _STACK, _STACK, _RW)
    for thread in threads:
        yield from _zeros(places.signal_stacks - (thread + 1) * _SIGNAL_STACK, _SIGNAL_STACK, _RW)
    for segment in segments:
        yield from _filled(places.pal + segment.address, segment.flags, segment.content)
    yield Unmeasured(range(_HEAP, places.pal, PAGE), _RWX)


def _places(enclave: Enclave, manifest: int, pal: int) -> _Places:
    threads = enclave.threads
    at_manifest = enclave.size - _rounded(manifest)
    at_ssa = at_manifest - threads * _SSA
    at_tcs = at_ssa - threads * PAGE
    at_tls = at_tcs - threads * PAGE
    signal_stacks = at_tls - threads * _STACK
    at_pal = signal_stacks - threads * _SIGNAL_STACK - _rounded(pal)
    if at_pal < _HEAP:
        raise MeasurementFault(
            f"an enclave of {enclave.size:,} bytes has no room for {threads} threads",
            hint="give it more memory: [resources] of Enarx.toml",
        )
    return _Places(at_manifest, at_ssa, at_tcs, at_tls, at_tls, signal_stacks, at_pal)


def _tcs(places: _Places, entry: int, thread: int) -> bytes:
    """FLAGS, OSSA, CSSA, NSSA, OENTRY, OFSBASE, OGSBASE, FSLIMIT, GSLIMIT, behind 8 bytes that are reserved."""
    fields = (0, places.ssa + thread * _SSA, 0, _SSA_FRAMES, places.pal + entry, 0, places.tls + thread * PAGE)
    return struct.pack("<8xQQIIQ8xQQII", *fields, PAGE - 1, PAGE - 1).ljust(PAGE, b"\0")


def _tls(enclave: Enclave, places: _Places, thread: int) -> bytes:
    """The beginning of a page of 64-bit words, by their offset."""
    ssa = places.ssa + thread * _SSA
    signal_stack = places.signal_stacks - (thread + 1) * _SIGNAL_STACK
    words = {
        0x000: places.tls + thread * PAGE,  # its own address
        0x008: _CANARY,
        0x110: enclave.size,
        0x118: places.tcs + thread * PAGE,
        0x120: places.stacks - thread * _STACK,  # where its stack begins: the end of the area
        0x130: signal_stack,
        0x138: signal_stack + _SIGNAL_STACK,
        0x148: ssa,
        0x150: ssa + SSA_FRAME_PAGES * PAGE - _REGISTERS_SIZE,
        0x1A0: len(enclave.manifest) + 1,
        0x1A8: _HEAP,
        0x1B0: places.pal,  # where the heap ends
    }
    page = bytearray(PAGE)
    for at, word in words.items():
        struct.pack_into("<Q", page, at, word)
    return bytes(page)


def _segments(pal: bytes) -> tuple[int, list[_Segment]]:
    """The PAL's entry point, and what of it is loaded, each in whole pages."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        file = ELFFile(io.BytesIO(pal))
        headers = [segment.header for segment in file.iter_segments() if segment.header.p_type == "PT_LOAD"]
        entry = int(file.header.e_entry)
    except (ELFError, ValueError, OverflowError) as error:
        raise MeasurementFault(f"Gramine's libpal.so is no ELF file: {error}") from error
    segments = [_segment(pal, header) for header in headers]
    if not segments or min(segment.address for segment in segments) != 0:
        raise MeasurementFault("Gramine's libpal.so is not one that can be loaded anywhere")
    return entry, segments


def _segment(pal: bytes, header: Any) -> _Segment:
    """A segment from the beginning of its first page; what of that page the segment has not is zero."""
    before = header.p_vaddr % PAGE
    content = pal[header.p_offset : header.p_offset + header.p_filesz]
    if len(content) != header.p_filesz or not header.p_filesz <= header.p_memsz <= _LARGEST_PAL:
        raise MeasurementFault("Gramine's libpal.so has a segment that it does not hold")
    if header.p_vaddr > _LARGEST_PAL or (header.p_vaddr - header.p_offset) % PAGE:
        raise MeasurementFault("Gramine's libpal.so has a segment that cannot be mapped")
    size = _rounded(before + header.p_memsz)
    flags = _REG
    for bit, right in _SEGMENT_RIGHTS:
        flags |= right if header.p_flags & bit else 0
    return _Segment(header.p_vaddr - before, size, (bytes(before) + content).ljust(size, b"\0"), PageFlags(flags))


def _filled(at: int, flags: PageFlags, content: bytes) -> Iterator[Page]:
    for start in range(0, len(content), PAGE):
        yield Page(at + start, flags, content[start : start + PAGE].ljust(PAGE, b"\0"))


def _zeros(at: int, size: int, flags: PageFlags) -> Iterator[Page]:
    for place in range(at, at + size, PAGE):
        yield Page(place, flags, _ZERO_PAGE)


def _rounded(size: int) -> int:
    return -(-size // PAGE) * PAGE
