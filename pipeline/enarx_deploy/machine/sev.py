"""What AMD's security processor says by `/dev/sev` (linux/psp-sev.h): AMD 56860 (SEV-SNP ABI), section 8.3."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from enarx_deploy.machine.tree import Machine

_SNP_PLATFORM_STATUS: Final = 9
_STATUS = struct.Struct("<BBBBIII8s8s")
_VLEK: Final = 1 << 2


class SnpStatus(NamedTuple):
    """`api` and `build` are the firmware's; TCB versions are 8 bytes as in a report."""

    api: tuple[int, int]
    build: int
    vlek: bool
    """Whether reports are signed by a key that AMD lent to a provider."""
    guests: int
    current_tcb: bytes
    reported_tcb: bytes

    @property
    def version(self) -> str:
        """As reports have it: `1.55.30`."""
        return f"{self.api[0]}.{self.api[1]}.{self.build}"


def snp_status(machine: Machine) -> SnpStatus | None:
    """The status of SNP's firmware; None where it does not answer."""
    answer = machine.sev_command(_SNP_PLATFORM_STATUS, _STATUS.size)
    if answer is None:
        return None
    major, minor, _, _, build, flags, guests, current, reported = _STATUS.unpack(answer)
    return SnpStatus((major, minor), build, bool(flags & _VLEK), guests, current, reported)
