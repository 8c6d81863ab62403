"""What the backends snp and tdx have in common: the Keep's image as a confidential virtual machine.

Not yet run on hardware. It boots as the kvm backend does, with two differences: the processor protects and measures the
guest, and the package's digest is fixed at launch. Where this machine lacks anything, nothing is started: there is no
other way of starting such a Keep, and none that is weaker is taken in its place.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from enarx_backends import firmware, keep_image, looks, qemu, vsock
from enarx_backends.virtual_machine import Plan, VirtualMachine
from enarx_deploy.errors import KeepError
from enarx_deploy.machine import Machine
from enarx_deploy.models import Package, Probe, ReferenceValues
from enarx_deploy.protocols import KeepProcess, Launch

if TYPE_CHECKING:
    from pathlib import Path

    from enarx_backends.confidential import Guest
    from enarx_image.image import Image

STRENGTH = 30


class Protected(ABC):
    """A confidential virtual machine, over virtio-serial."""

    name: str
    firmware_kind: ClassVar[Literal["snp", "tdx"]]
    oldest_qemu: ClassVar[tuple[int, int]]
    """The first version of QEMU's that has its object."""
    aliases: tuple[str, ...] = ()
    hardware = True
    evidence: str
    strength = STRENGTH

    def __init__(self, machine: Machine | None = None, folder: Path | None = None) -> None:
        """`folder` is where the image is; None for that of this version."""
        self.machine = machine or Machine()
        self._folder = folder

    def booting(self, folder: Path) -> Self:
        """See `BootsImage`."""
        return type(self)(self.machine, folder)

    def image_digest(self) -> str:
        """See `BootsImage`."""
        return self._image().digest

    def _image(self) -> Image:
        return keep_image.find(self._folder)

    @abstractmethod
    def reference_values(self, package: Package, image: Image, bios: Path) -> ReferenceValues:
        """What a Keep must measure to. Raises KeepError."""

    @abstractmethod
    def guest(self, package: bytes, image: Image, bios: str, memory: int) -> Guest:
        """How QEMU is told to make it; `package` is the digest, `bios` the firmware's path. Raises KeepError."""

    def probe(self) -> Probe:
        """What the processor and its kernel need, then QEMU, the firmware and the image."""
        own = {
            "QEMU": lambda: f"version {qemu.find(self.oldest_qemu).version}",
            "firmware": lambda: str(firmware.find(self.firmware_kind)),
            "image": self.image_digest,
        }
        return looks.probe(self.name, self.machine, own)

    def measure(self, package: Package) -> ReferenceValues:
        """See the class's own `reference_values`: it takes the image and the firmware, and no such hardware."""
        return self.reference_values(package, self._image(), firmware.find(self.firmware_kind))

    def start(self, launch: Launch) -> KeepProcess:
        """Boot the image. Raises KeepError."""
        for check in self.probe().checks:
            if not check.ok:
                raise KeepError(f"{self.name}: {check.name}: {check.detail}", hint=check.hint)
        program, image = qemu.find(self.oldest_qemu), self._image()
        memory = keep_image.memory(launch)
        package = bytes.fromhex(launch.package_digest.removeprefix("sha256:"))
        with ExitStack() as opened:
            boot = opened.enter_context(keep_image.bootable(image))
            bios = qemu.sealed(firmware.content(self.firmware_kind), "firmware")
            opened.callback(os.close, bios)
            device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, device)
            guest = self.guest(package, image, f"/proc/self/fd/{bios}", memory)
            if (line := vsock.line()) is not None:
                opened.callback(line.close)
            plan = Plan(program, guest, qemu.Accelerator("kvm", device), boot, memory, more=(bios,), line=line)
            machine = VirtualMachine(plan, launch.stderr_fd, image.digest)
            return machine.carrying(launch, line)
