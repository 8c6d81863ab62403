"""A backend for Arm CCA: the Keep's image as a realm. An example, complete but for a machine to run it on.

What is fixed when a realm starts: its initial measurement (RIM), which covers what is loaded into it, and the
personalization value, which is the host's choice and here the package's digest (Arm DEN0137, realm parameters).
"""

from __future__ import annotations

import base64
import json
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from enarx_deploy import paths
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.machine import Machine
from enarx_deploy.models import Package, Probe, ProbeCheck, ReferenceValues
from enarx_deploy.protocols import Backend, KeepProcess, Launch
from enarx_sallyport import Carrier

PROGRAM = "qemu-system-aarch64"
PORT = "org.enarx.sallyport.0"
"""The virtio-serial port by which the Keep's image takes the sallyport."""
PERSONALIZATION_SIZE = 64
MEMORY = 1 << 30
RIMS_LIMIT = 1 << 16


class Cca:
    """A realm of QEMU's, on a processor with the Realm Management Extension."""

    name = "cca"
    aliases = ("realm",)
    hardware = True
    evidence = "cca"
    strength = 30

    def __init__(self, machine: Machine | None = None) -> None:
        self._machine = machine or Machine()

    def probe(self) -> Probe:
        """Needs an Arm processor, a KVM that manages realms, QEMU, an image and its measurements."""
        kvm = self._machine.has("dev/kvm") and self._machine.can_be_used("dev/kvm")
        rmm = self._machine.has("sys/module/kvm/parameters/rme")
        checks = [
            _check("processor", platform.machine() == "aarch64", platform.machine(), "realms need an Arm processor"),
            _check("KVM", kvm, "/dev/kvm", "load kvm, and let your user read and write /dev/kvm"),
            _check("realms", rmm, "KVM's management of realms", "use a kernel and firmware with support for CCA"),
            _check("QEMU", bool(shutil.which(PROGRAM)), PROGRAM, "install a QEMU with the object rme-guest"),
            _check(
                "image",
                all(_image(n).exists() for n in ("kernel", "initrd", "cmdline")),
                str(_folder()),
                "put it there",
            ),
            _check("measurements", bool(_rims()), str(_folder() / "rims"), "compute them: realm-measurements"),
        ]
        return Probe(backend=self.name, available=all(check.ok for check in checks), hardware=True, checks=checks)

    def measure(self, package: Package) -> ReferenceValues:
        """The RIMs that whoever built the image computed, and the package. Raises KeepError without them."""
        rims = _rims()
        if not rims:
            raise KeepError(
                f"{_folder() / 'rims'} names no initial measurement of the image",
                hint="compute them with realm-measurements, and write one a line",
            )
        return ReferenceValues(
            backend=self.name,
            hardware=True,
            package=package.digest,
            measurements={f"RIM {number}": rim for number, rim in enumerate(rims, 1)},
            policy={
                "cca": {
                    "rims": rims,
                    "personalization_values": [_personalization(package.digest).hex()],
                    "packages": [package.digest],
                }
            },
        )

    def start(self, launch: Launch) -> KeepProcess:
        """Start a realm. Raises KeepError."""
        for check in self.probe().checks:
            if not check.ok:
                raise KeepError(f"a realm cannot be started here: {check.name}: {check.detail}", hint=check.hint)
        return Realm(launch)


class Realm:
    """A realm that was started. It ends with this process: QEMU's end of the sallyport closes, and its Keep with it."""

    def __init__(self, launch: Launch) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._qemu = subprocess.Popen(
                [PROGRAM, *words(launch.package_digest, theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=launch.stderr_fd,
                stderr=launch.stderr_fd,
                pass_fds=(theirs.fileno(),),
                env={},
                process_group=0,
            )
            self.pid = self._qemu.pid
            self._carrier = Carrier.beside_host(launch.block_fd, launch.doorbell_fd, ours.fileno())

    def poll(self) -> int | None:
        """See `KeepProcess`."""
        return self._qemu.poll()

    def wait(self, timeout: float | None = None) -> int:
        """See `KeepProcess`. What the realm published last has come through by then."""
        try:
            status = self._qemu.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        self._carrier.wait()
        return status

    def kill(self) -> None:
        """See `KeepProcess`."""
        self._qemu.kill()


def words(package_digest: str, sallyport: int) -> list[str]:
    """QEMU's command line of a realm that has no device but the sallyport's port."""
    guest = {
        "qom-type": "rme-guest",
        "id": "rme0",
        "measurement-algorithm": "sha512",
        "personalization-value": base64.b64encode(_personalization(package_digest)).decode(),
    }
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "kvm", "-cpu", "host"),
        *("-machine", "virt,gic-version=3,confidential-guest-support=rme0", "-object", json.dumps(guest)),
        *("-m", f"{MEMORY >> 20}M", "-kernel", str(_image("kernel")), "-initrd", str(_image("initrd"))),
        *("-append", _image("cmdline").read_text()),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=sallyport,fd={sallyport}"),
        *("-device", f"virtserialport,chardev=sallyport,name={PORT}"),
    ]


def _personalization(package_digest: str) -> bytes:
    """The package's SHA-256, then zeros."""
    return bytes.fromhex(package_digest.removeprefix("sha256:")).ljust(PERSONALIZATION_SIZE, b"\0")


def _folder() -> Path:
    return paths.cache_dir("cca")


def _image(name: str) -> Path:
    return _folder() / name


def _rims() -> list[str]:
    """What the image measures to, one a line, for each shape of the machine that is accepted."""
    try:
        with _image("rims").open("rb") as file:
            return file.read(RIMS_LIMIT).decode("ascii").split()
    except (OSError, ValueError):
        return []


def _check(name: str, ok: bool, detail: str, hint: str) -> ProbeCheck:
    return ProbeCheck(name=name, ok=ok, detail=detail, hint="" if ok else hint)


@hookimpl
def register_backends() -> Iterable[Backend]:
    """The cca backend."""
    return [Cca()]
