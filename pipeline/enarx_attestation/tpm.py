"""A TPM's quote (TPM 2.0 Library, part 2: TPMS_ATTEST, section 10.12.8)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

_MAGIC: Final = b"\xff\x54\x43\x47"
_ST_ATTEST_QUOTE: Final = 0x8018
_ALG_SHA256: Final = 0x000B
_PCR_SIZE: Final = 32


class TpmError(ValueError):
    """The bytes are not a TPM's quote."""


class TpmQuote(msgspec.Struct, frozen=True):
    """What a TPM signed."""

    extra_data: bytes
    """The caller's nonce."""
    selected: tuple[int, ...]
    """Registers of the SHA-256 bank, in order."""
    pcr_digest: bytes

    def covers(self, pcrs: Sequence[bytes]) -> bool:
        """Whether the quote is over these values, of registers 0 and after.

        What is signed is the hash of all values in a row: were their sizes free, one register's value could be passed
        off as another's.
        """
        if not self.selected or max(self.selected) >= len(pcrs):
            return False
        if any(len(pcrs[index]) != _PCR_SIZE for index in self.selected):
            return False
        return hashlib.sha256(b"".join(pcrs[index] for index in self.selected)).digest() == self.pcr_digest


def read_quote(data: bytes) -> TpmQuote:
    """Read a TPMS_ATTEST that is a quote of the SHA-256 bank, all of `data`. Raises `TpmError`."""
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        field = data[position : position + size]
        if len(field) != size:
            raise TpmError("the quote is cut short")
        position += size
        return field

    def number(size: int) -> int:
        return int.from_bytes(take(size), "big")

    if take(4) != _MAGIC or number(2) != _ST_ATTEST_QUOTE:
        raise TpmError("not a quote")
    take(number(2))  # the signer's qualified name
    extra_data = take(number(2))
    take(17 + 8)  # clock and firmware version
    if number(4) != 1 or number(2) != _ALG_SHA256:
        raise TpmError("the quote is not of the SHA-256 bank alone")
    bitmap = int.from_bytes(take(number(1)), "little")
    digest = take(number(2))
    if position != len(data):
        raise TpmError("bytes follow the quote")
    return TpmQuote(extra_data, tuple(index for index in range(32) if bitmap >> index & 1), digest)


def register_faults(pcrs: Mapping[str, str], wanted: Mapping[str, Sequence[str]], quoted: Sequence[int]) -> list[str]:
    """Of the registers that a policy lists, those which the quote does not cover or whose value is not listed."""
    return [
        f"PCR{number} {pcrs.get(number, 'absent')}"
        for number, allowed in wanted.items()
        if int(number) not in quoted or pcrs.get(number) not in allowed
    ]
