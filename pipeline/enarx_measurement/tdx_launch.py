"""MRTD: what the TDX module measures while a domain is built, from the firmware alone.

Intel TDX Module ABI, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND; Intel TDX Virtual Firmware Design Guide, section 11 (the
table of sections). SHA-384 over a record of 128 bytes for each page that is added, and for each 256 bytes that are
measured a record and the bytes. The hosts' kernels differ in the order, so that a firmware has two MRTDs: KVM as it is
in Linux extends each page when it adds it, and the kernels before added all pages of a section first.

What comes later (RTMR0 to RTMR3) depends on the virtual machine and on how QEMU patches the kernel: it is taken from
the event log of a launch, whose replay must give the registers, and is not computed here.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from .errors import MeasurementFault

MAX_FIRMWARE: Final = 1 << 26
"""Most bytes of a firmware."""
MAX_SECTIONS: Final = 64
MAX_ADDED: Final = 1 << 27
"""Most bytes of memory that a firmware has added to a domain."""
PAGE: Final = 4096
_CHUNK: Final = 256
_FOOTER: Final = bytes.fromhex("de82b596b21ff745baeaa366c55a082d")  # 96b582de-1fb2-45f7-baea-a366c55a082d
_METADATA: Final = bytes.fromhex("35657ae44a989847865e4685a7bf8ec2")  # e47a6535-984a-4798-865e-4685a7bf8ec2
_FOOTER_END: Final = 32
_ENTRY: Final = struct.Struct("<H16s")
_DESCRIPTOR: Final = struct.Struct("<4sIII")
_SECTION: Final = struct.Struct("<IIQQII")
_MEASURED: Final = 1 << 0
_ADDED_LATER: Final = 1 << 1


class Section(NamedTuple):
    """A row of the firmware's table: where its bytes are in the file, and where they go in the domain."""

    data_offset: int
    raw_size: int
    address: int
    size: int
    type: int
    attributes: int


def sections(firmware: bytes) -> list[Section]:
    """The table of a firmware. Raises MeasurementFault where there is none, or it points out of the file."""
    if len(firmware) > MAX_FIRMWARE:
        raise MeasurementFault(f"a firmware has at most {MAX_FIRMWARE:,} bytes")
    at = len(firmware) - _offset(firmware)
    if not 0 <= at <= len(firmware) - _DESCRIPTOR.size:
        raise MeasurementFault("the firmware's table of sections is outside of it")
    signature, _, version, count = _DESCRIPTOR.unpack_from(firmware, at)
    if signature != b"TDVF" or version != 1 or count > MAX_SECTIONS:
        raise MeasurementFault("the firmware's table of sections is of a form that is not known")
    if at + _DESCRIPTOR.size + count * _SECTION.size > len(firmware):
        raise MeasurementFault("the firmware's table of sections is cut short")
    found = [Section(*_SECTION.unpack_from(firmware, at + _DESCRIPTOR.size + n * _SECTION.size)) for n in range(count)]
    for section in found:
        _check(section, firmware)
    if sum(section.size for section in found) > MAX_ADDED:
        raise MeasurementFault(f"the firmware adds more than {MAX_ADDED:,} bytes of memory")
    return found


def mrtds(firmware: bytes) -> tuple[str, str]:
    """The firmware's two MRTDs, 48 bytes each in hexadecimal: of Linux's KVM, and of kernels before it.

    Raises MeasurementFault.
    """
    found = [section for section in sections(firmware) if not section.attributes & _ADDED_LATER]
    return _mrtd(firmware, found, PAGE), _mrtd(firmware, found, 0)


def _mrtd(firmware: bytes, found: list[Section], together: int) -> str:
    """`together`: bytes that are added before they are extended, or 0 for a whole section."""
    digest = hashlib.sha384()
    for section in found:
        content = firmware[section.data_offset : section.data_offset + section.raw_size].ljust(section.size, b"\0")
        step = together or section.size
        for start in range(0, section.size, step):
            for page in range(start, start + step, PAGE):
                digest.update(_record(b"MEM.PAGE.ADD", section.address + page))
            if section.attributes & _MEASURED:
                for at in range(start, start + step, _CHUNK):
                    digest.update(_record(b"MR.EXTEND", section.address + at))
                    digest.update(content[at : at + _CHUNK])
    return digest.hexdigest()


def _record(name: bytes, address: int) -> bytes:
    return (name.ljust(16, b"\0") + address.to_bytes(8, "little")).ljust(128, b"\0")


def _check(section: Section, firmware: bytes) -> None:
    whole = not (section.address | section.size) % PAGE
    inside = section.data_offset + section.raw_size <= len(firmware) and section.raw_size <= section.size
    if not whole or not inside or section.size > MAX_ADDED or section.address + section.size >= 1 << 52:
        raise MeasurementFault(f"the firmware's section at {section.address:#x} is not one of whole pages in the file")


def _offset(firmware: bytes) -> int:
    """How far the table of sections is from the firmware's end, as the table at its end says."""
    for guid, data in _footer(firmware):
        if guid == _METADATA and len(data) == 4:
            return int.from_bytes(data, "little")
    raise MeasurementFault(
        "the firmware has no table of sections for TDX", hint="take one that is built for it (OVMF, IntelTdx)"
    )


def _footer(firmware: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of OVMF's table, last one first: each ends in its size and its GUID."""
    end = len(firmware) - _FOOTER_END
    if end < _ENTRY.size:
        return
    size, guid = _ENTRY.unpack_from(firmware, end - _ENTRY.size)
    end -= _ENTRY.size
    left = size - _ENTRY.size
    if guid != _FOOTER or left > end:
        return
    while left >= _ENTRY.size:
        size, guid = _ENTRY.unpack_from(firmware, end - _ENTRY.size)
        if not _ENTRY.size <= size <= left:
            return
        yield guid, firmware[end - size : end - _ENTRY.size]
        end -= size
        left -= size
