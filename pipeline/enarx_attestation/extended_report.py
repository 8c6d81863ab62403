"""A report of SEV-SNP in what tools write to a file: the firmware's whole answer, or an "extended report".

The firmware's answer (56860, table 25) has 32 bytes before the report, a status and the report's size, and Linux gives
it in a buffer of 4,000 bytes with zeros behind; some tools keep the report alone in such a buffer.

In an extended report the host's table of certificates follows. It (SEV-ES GHCB Standardization, 56421, section 4.1.8.1)
has entries of a GUID, an offset from its start and a length (u32, little-endian); an entry of zeros ends them. It is
the host's word: what is taken from it is verified like any other endorsement, and of AMD's own authorities nothing is
taken.
"""

from __future__ import annotations

import struct
import uuid
from typing import Final

from . import snp_report

MAX_SIZE: Final = 1 << 17
"""Most bytes of a table."""
MAX_ENTRIES: Final = 16

_ANSWER: Final = struct.pack("<II", 0, snp_report.SIZE).ljust(32, b"\0")
"""What stands before a report in an answer without an error."""
_BUFFERS: Final = frozenset({4000, 4096})
"""Bytes of the buffers in which answers and reports are kept."""
_ENTRY: Final = struct.Struct("<16sII")
_NAMES: Final = {
    uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes: "vcek.der",
    uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes: "vlek.der",
    uuid.UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea").bytes: "crl.der",
}


def split(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The report, and the endorsements behind it by name; what is none of these forms is left as it is."""
    start = len(_ANSWER) if data.startswith(_ANSWER) else 0
    report, behind = data[start : start + snp_report.SIZE], data[start + snp_report.SIZE :]
    if not any(behind) and (len(data) in _BUFFERS or (start and not behind)):
        return report, {}
    found = _entries(behind) if not start and _ENTRY.size <= len(behind) <= MAX_SIZE else None
    return (data, {}) if found is None else (report, found)


def _entries(table: bytes) -> dict[str, bytes] | None:
    """The known entries; None if it is no table."""
    found: dict[str, bytes] = {}
    for index in range(min(MAX_ENTRIES, len(table) // _ENTRY.size)):
        guid, offset, length = _ENTRY.unpack_from(table, index * _ENTRY.size)
        if not any(guid):
            return found if index and not offset and not length else None
        if offset + length > len(table):
            return None
        if name := _NAMES.get(guid):
            found[name] = table[offset : offset + length]
    return None
