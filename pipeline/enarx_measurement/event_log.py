"""RTMR1 and RTMR2 of a TDX domain, from the event log of a launch that was seen (CCEL).

What Linux's loader measures depends on how QEMU patched the kernel (UEFI specification, section 38.4.1), so that it is
not computed here. A log counts for an image if the initramfs in it is the image's: of that the SHA-384 is certain.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from enarx_attestation import MalformedEvidence
from enarx_attestation.ccel import MAX_SIZE, read_log, replay

from .errors import MeasurementFault

PLACE: Final = "/sys/firmware/acpi/tables/data/CCEL"
"""Where a guest finds its log."""
MAX_LOG: Final = MAX_SIZE
_OF_RTMR2: Final = 3  # as the log counts registers; MRTD has 0


class Registers(NamedTuple):
    """In hexadecimal."""

    rtmr1: str
    rtmr2: str


def registers(log: bytes, initrd: bytes) -> Registers:
    """What a domain that boots this initramfs has in its registers. Raises MeasurementFault."""
    try:
        events = read_log(log)
    except MalformedEvidence as error:
        raise MeasurementFault(
            f"the event log cannot be read: {error}", hint=f"take it from {PLACE} of the guest"
        ) from error
    digest = hashlib.sha384(initrd).digest()
    if not any(event.digest == digest and event.register == _OF_RTMR2 for event in events):
        raise MeasurementFault(
            "the event log is of another initramfs than this image's", hint="launch this image, and take its log"
        )
    _, rtmr1, rtmr2, _ = replay(events)
    return Registers(rtmr1.hex(), rtmr2.hex())
