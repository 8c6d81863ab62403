"""The guest policy of SEV-SNP, which the firmware enforces for a guest: AMD 56860 (SEV-SNP ABI), table 9."""

from __future__ import annotations

from typing import Final

from .errors import MeasurementFault

_RESERVED_ONE: Final = 1 << 17
_BITS: Final = {
    "smt": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl": 21,
    "aes_256_xts": 22,
    "rapl_disabled": 23,
    "ciphertext_hiding": 24,
    "page_swap_disabled": 25,
}
_ABI: Final = (1, 51)
"""The least version of the ABI that the firmware must have; Enarx asked for this one too."""


def guest_policy(*names: str, abi: tuple[int, int] = _ABI) -> int:
    """The strict policy, and what `names` adds: nobody may debug, migrate or link devices to the guest.

    `smt` is left out too, so that a guest does not start where another's thread may share its core. Raises
    MeasurementFault for a name that is not in the table.
    """
    policy = _RESERVED_ONE | abi[0] << 8 | abi[1]
    for name in names:
        if name not in _BITS:
            raise MeasurementFault(f"{name!r} is no flag of a guest policy", hint=f"one of {', '.join(_BITS)}")
        policy |= 1 << _BITS[name]
    return policy
