"""The kvm backend: a Keep that is a virtual machine, with no hardware protection.

It boots the Keep's image in QEMU, with KVM where a boot has shown that it works, else emulated (TCG). The machine keeps
a workload from its host; nothing keeps the host from the workload. Whoever controls the host can read and change all of
it, and everything that comes from the Keep says so. What is measured, software measures on the host, which may claim
what it likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from enarx_backends import acceleration, compiling, keep_image, looks, qemu, vsock
from enarx_backends.virtual_machine import Plan, VirtualMachine
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, Probe, ProbeCheck, ReferenceValues
from enarx_deploy.protocols import Backend, KeepProcess, Launch

if TYPE_CHECKING:
    from enarx_image.image import Image


class Kvm:
    """A virtual machine, over virtio-serial."""

    name = "kvm"
    aliases: tuple[str, ...] = ()
    hardware = False
    evidence = "kvm"
    strength = 1
    by_name_only = True

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where the image is; None for that of this version."""
        self._folder = folder

    def booting(self, folder: Path) -> Kvm:
        """See `BootsImage`."""
        return Kvm(folder)

    def image_digest(self) -> str:
        """See `BootsImage`."""
        return self._image().digest

    def _image(self) -> Image:
        return keep_image.find(self._folder)

    def probe(self) -> Probe:
        """Needs QEMU and an image; KVM only makes it fast, unless nothing else is to be used. Boots nothing."""
        checks = [*self._needs(), replace(self._acceleration(), required=not acceleration.may_emulate())]
        available = all(check.ok for check in checks if check.required)
        return Probe(backend=self.name, available=available, hardware=False, checks=checks)

    def _needs(self) -> Iterable[ProbeCheck]:
        return looks.checks({"qemu": _look_at_qemu, "image": self._look_at_image})

    def try_again(self) -> None:
        """See `RemembersTrials`: whether a guest boots with KVM."""
        program, found = qemu.find(), self._image()
        acceleration.forget(program, found.digest)
        with keep_image.bootable(found) as boot:
            chosen = acceleration.look(program, boot, found.digest, keep_image.BASE_MEMORY)
        if chosen.accelerator.device >= 0:
            os.close(chosen.accelerator.device)

    def measure(self, package: Package) -> ReferenceValues:
        """What boots, the code that the Keep is handed with it, and all of it with the package, by software."""
        from enarx_image import measurement

        built = self._image()
        code = compiling.code_of(compiling.of_package(package))
        record = _taking(built, code).record
        extra = {"code": measurement.sha256(code), "image as built": built.digest} if code else {}
        return ReferenceValues(
            backend=self.name,
            hardware=False,
            package=package.digest,
            measurements={
                "image": record.digest,
                "kernel": record.kernel.sha256,
                "initrd": record.initrd.sha256,
                "cmdline": record.cmdline.sha256,
                **extra,
                "measurement": measurement.kvm(record.digest, package.digest),
            },
            policy={"kvm": {"packages": [package.digest], "images": [record.digest]}},
        )

    def start(self, launch: Launch) -> KeepProcess:
        """Boot the image. Raises KeepError."""
        program = qemu.find()
        code = compiling.code_of(compiling.of_launch(launch))
        found = self._image()
        memory = keep_image.memory(launch)
        with keep_image.bootable(found) as boot, ExitStack() as opened:
            chosen = acceleration.choose(program, boot, found.digest, keep_image.BASE_MEMORY)
            if chosen.accelerator.device >= 0:
                opened.callback(os.close, chosen.accelerator.device)
            os.write(launch.stderr_fd, f"kvm: {chosen.accelerator.name}: {chosen.reason}\n".encode())
            guest = acceleration.guest(chosen.accelerator.name)
            booted = _taking(found, code)
            if (line := vsock.line()) is not None:
                opened.callback(line.close)
            plan = Plan(program, guest, chosen.accelerator, boot._replace(cmdline=booted.cmdline), memory, line=line)
            machine = VirtualMachine(plan, launch.stderr_fd, booted.digest, code)
            return machine.carrying(launch, line)

    def _look_at_image(self) -> str:
        return f"{self.image_digest()} is {self._folder or 'built'}"

    def _acceleration(self) -> ProbeCheck:
        """What a Keep would run on, as far as it is known without a boot."""
        try:
            asked = acceleration.asked()
        except KeepError as error:
            return ProbeCheck(name="kvm", ok=False, detail=str(error), hint=error.hint)
        if asked == "tcg":
            return _emulated(f"{acceleration.ASKED} asks for it", f"without {acceleration.ASKED} KVM is tried")
        if not acceleration.DEVICE.exists():
            return _emulated(f"{acceleration.DEVICE} is not here", _NO_DEVICE)
        if not os.access(acceleration.DEVICE, os.R_OK | os.W_OK):
            return _emulated(f"{acceleration.DEVICE} cannot be opened by this user", _NOT_ALLOWED)
        try:
            trial = acceleration.known(qemu.find(), self.image_digest())
        except KeepError:
            trial = None
        if trial is None:
            detail = f"{acceleration.DEVICE} is here; the first Keep tries whether a guest boots with it"
            return ProbeCheck(name="kvm", ok=True, detail=detail)
        return (
            ProbeCheck(name="kvm", ok=True, detail=trial.detail) if trial.usable else _emulated(trial.detail, _NO_GOOD)
        )


_NO_DEVICE = "switch virtualization on in the machine's firmware, and load kvm_amd or kvm_intel"
_NOT_ALLOWED = "let this user open it (on most systems: the group kvm)"
_NO_GOOD = "a Keep tries it again in a day, or when the machine was started anew; `platform kvm --retry` does so now"


def _emulated(why: str, hint: str) -> ProbeCheck:
    return ProbeCheck(
        name="kvm", ok=False, detail=f"{why}; it is emulated (TCG): for trying, many times slower", hint=hint
    )


def _taking(image: Image, code: bytes) -> Image:
    """The image as a Keep boots it that is handed this code, if there is any."""
    from enarx_image import image as images
    from enarx_image import measurement

    return images.with_code(image, measurement.sha256(code)) if code else image


def _look_at_qemu() -> str:
    found = qemu.find()
    return f"QEMU {found.version} is {found.program}"


@hookimpl
def register_backends() -> Iterable[Backend]:
    """The kvm backend."""
    return [Kvm()]
