"""The snp backend: the Keep's image as a guest of SEV-SNP. Not yet run on hardware."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from enarx_backends import confidential
from enarx_backends.protected import Protected
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.machine import Cpu
from enarx_deploy.machine.cpu import SEV
from enarx_deploy.protocols import Backend

if TYPE_CHECKING:
    from enarx_deploy.models import Package, ReferenceValues
    from enarx_image.image import Image

SIGNATURE = "image.sig"
"""Beside the image: what `image sign` wrote, where the owner signed it."""


class Signed(NamedTuple):
    """The owner's word for the image; empty where there is none."""

    id_block: bytes = b""
    id_auth: bytes = b""
    author: bool = False


class Snp(Protected):
    """A guest whose launch digest covers firmware and image, and whose HOST_DATA is the package's digest."""

    name: str = "snp"
    firmware_kind = "snp"
    oldest_qemu = (9, 1)
    aliases: tuple[str, ...] = ("sev",)
    evidence = "snp"

    def reference_values(self, package: Package, image: Image, bios: Path) -> ReferenceValues:
        """See `measured.snp`."""
        from enarx_backends import measured

        return measured.snp(package, image, bios)

    def guest(self, package_digest: bytes, image: Image, bios: str, memory: int) -> confidential.Guest:
        """See `confidential.snp`."""
        from enarx_backends import measured

        registers = Cpu(self.machine).leaf(SEV)
        if registers is None:
            raise KeepError(
                "the processor does not say where its C-bit is",
                hint="let your user read /dev/cpu/0/cpuid: modprobe cpuid",
            )
        signed = signature(image.folder / SIGNATURE)
        launch = confidential.SnpLaunch(
            cbit=registers.ebx & 0x3F,
            policy=_policy(signed, image.folder / SIGNATURE),
            cpu=measured.SNP_CPU,
            host_data=package_digest,
            id_block=signed.id_block,
            id_auth=signed.id_auth,
            author_key=signed.author,
        )
        return confidential.snp(launch, bios, memory)


def signature(path: Path) -> Signed:
    """The owner's word that lies beside an image. Raises KeepError where it cannot be read."""
    from enarx_measurement.snp_structures import AUTHOR_AT, ID_AUTH_SIZE, ID_BLOCK_SIZE

    try:
        found = json.loads(path.read_bytes())["sev"]
        block, proof = bytes(found["id_block"]), bytes(found["id_auth"])
    except FileNotFoundError:
        return Signed()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KeepError(f"{path} is no signature of an image", hint="`enarx-deploy image sign` writes one") from error
    if len(block) != ID_BLOCK_SIZE or len(proof) != ID_AUTH_SIZE:
        raise KeepError(f"{path} has fields of another size", hint="`enarx-deploy image sign` writes one")
    return Signed(block, proof, author=any(proof[AUTHOR_AT:]))


def _policy(signed: Signed, path: Path) -> int:
    """The strict guest policy, or the owner's if the image is signed: the firmware starts a guest by no other.

    Raises KeepError where an owner allows more than simultaneous multithreading.
    """
    from enarx_measurement import guest_policy
    from enarx_measurement.snp_structures import policy_of

    asked = policy_of(signed.id_block) if signed.id_block else guest_policy()
    if asked not in (guest_policy(), guest_policy("smt")):
        raise KeepError(
            f"{path} asks for the guest policy {asked:#x}, and guests are started with {guest_policy():#x}",
            hint="`enarx-deploy image sign` writes one, with --allow-smt for a machine that has that switched on",
        )
    return asked


@hookimpl
def register_backends() -> Iterable[Backend]:
    """The snp backend."""
    return [Snp()]
