"""AMD's table of certificates, which the host hands a guest together with its report.

SEV-ES Guest-Hypervisor Communication Block Standardization (56421), section 4.1.8.1: entries of a GUID (16 bytes, in
the order of its text), an offset from the start of the table and a length (each u32, little-endian); an entry of zeros
ends them. All of it is the host's word and optional, so that what is not in order is left out.
"""

from __future__ import annotations

import base64
import struct
import uuid

TABLE_LIMIT = 1 << 17
"""Most bytes of a table."""
ENTRIES_LIMIT = 16
CERTIFICATE_LIMIT = 1 << 14
"""Most bytes of a certificate or revocation list."""

_ENTRY = struct.Struct("<16sII")
_KEYS = ("vcek.der", "vlek.der")
_NAMES = {
    "63da758d-e664-4564-adc5-f4b93be8accd": "vcek.der",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "vlek.der",
    "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "crl.der",
}
"""Of AMD's authorities, which may stand there too, verifiers have their own."""
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_DER_SEQUENCE = b"\x30"


def read(table: bytes) -> dict[str, bytes]:
    """The key's certificate, and a revocation list, by the names that they have in a directory of endorsements.

    Nothing, unless there is the certificate of a key.
    """
    found = dict(_entries(table))
    return found if any(key in found for key in _KEYS) else {}


def _entries(table: bytes) -> list[tuple[str, bytes]]:
    entries: list[tuple[str, bytes]] = []
    if len(table) > TABLE_LIMIT:
        return entries
    for index in range(min(ENTRIES_LIMIT, len(table) // _ENTRY.size)):
        guid, offset, length = _ENTRY.unpack_from(table, index * _ENTRY.size)
        if not any(guid):
            break
        name = _NAMES.get(str(uuid.UUID(bytes=guid)))
        certificate = _der(table[offset : offset + length])
        if name and length <= CERTIFICATE_LIMIT and offset + length <= len(table) and certificate:
            entries.append((name, certificate))
    return entries


def _der(data: bytes) -> bytes | None:
    """The certificate in DER. Hosts are seen to put PEM there too."""
    if data.startswith(_BEGIN):
        try:
            data = base64.b64decode(b"".join(data.removeprefix(_BEGIN).partition(_END)[0].split()), validate=True)
        except ValueError:
            return None
    return data if data.startswith(_DER_SEQUENCE) else None
