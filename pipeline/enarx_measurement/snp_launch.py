"""The launch digests that a Keep image may have under SEV-SNP: AMD 56860 (SEV-SNP ABI), section 8.17.

The firmware measures itself, the table of hashes that QEMU lays into it (of kernel, initramfs and command line), and
the state of each virtual CPU. So the digest depends on how many CPUs there are, of which model, and with which
features: what a verifier accepts is a set. The PyPI package sev-snp-measure does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .errors import MeasurementFault

MODELS: Final = ("EPYC-Milan", "EPYC-Genoa", "EPYC-Turin", "EPYC-v4")
"""QEMU's CPU models for machines that have SEV-SNP, and the plain one that runs on all of them."""
FEATURES: Final = (0x1,)
"""SEV_FEATURES that QEMU gives the guest: SNP alone. Hosts whose kernel adds debug swapping have 0x21."""
MAX_VCPUS: Final = 255


class Shape(NamedTuple):
    """What a launch digest depends on beside the image: a virtual machine's CPUs."""

    vcpus: int
    model: str
    features: int

    def __str__(self) -> str:
        return f"{self.vcpus} x {self.model}, features {self.features:#x}"


class Image(NamedTuple):
    """What is started: the firmware, and what it is given to boot. `command_line` has no zero at its end."""

    firmware: Path
    kernel: Path
    initramfs: Path
    command_line: str


def shapes(vcpus: Iterable[int], models: Iterable[str] = MODELS, features: Iterable[int] = FEATURES) -> Iterator[Shape]:
    """Every combination."""
    models, features = tuple(models), tuple(features)
    return (Shape(count, model, bits) for count in vcpus for model in models for bits in features)


def launch_digests(image: Image, wanted: Iterable[Shape]) -> dict[Shape, str]:
    """The digest of each shape, 48 bytes in hexadecimal. Raises MeasurementFault."""
    from sevsnpmeasure import guest
    from sevsnpmeasure.vcpu_types import CPU_SIGS

    # Once for all shapes: the firmware is the longest part of what is measured.
    firmware = _of_firmware(image.firmware)
    found = {}
    for shape in wanted:
        if shape.model not in CPU_SIGS:
            raise MeasurementFault(f"{shape.model!r} is no CPU model of QEMU's", hint=f"such as {', '.join(MODELS)}")
        if not 1 <= shape.vcpus <= MAX_VCPUS:
            raise MeasurementFault(f"a guest has 1 to {MAX_VCPUS} CPUs, and not {shape.vcpus}")
        try:
            digest = guest.snp_calc_launch_digest(
                shape.vcpus,
                CPU_SIGS[shape.model],
                str(image.firmware),
                str(image.kernel),
                str(image.initramfs),
                image.command_line,
                shape.features,
                firmware,
            )
        except OSError as error:
            raise MeasurementFault(f"{error.filename}: {error.strerror}") from error
        except (RuntimeError, ValueError, AssertionError) as error:
            raise MeasurementFault(
                f"{image.firmware}: {error}",
                hint="the firmware must measure the kernel: one built with SNP_KERNEL_HASHES (OVMF, AmdSev)",
            ) from error
        found[shape] = digest.hex()
    return found


def _of_firmware(path: Path) -> str:
    from sevsnpmeasure import guest

    try:
        found: bytes = guest.calc_snp_ovmf_hash(str(path))
    except OSError as error:
        raise MeasurementFault(f"{path}: {error.strerror}", hint="is the firmware installed?") from error
    except (RuntimeError, ValueError, AssertionError) as error:
        raise MeasurementFault(f"{path}: not a firmware of OVMF's kind: {error}") from error
    return found.hex()
