"""Whether KVM is good for a guest of ours: by a boot of the Keep's image, and not by the device.

A device that opens says little: under nested virtualization it may take all calls and then lose guests, or run their
kernel a thousand times too slowly. So a guest is booted once, to its first program, within a limit. A yes is kept for
as long as kernel, processor, QEMU and image are the same; a no, which may have been the moment's, for a day at most,
and not beyond the machine's next start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from enarx_backends import qemu
from enarx_backends.confidential import Guest
from enarx_backends.virtual_machine import Plan, VirtualMachine
from enarx_deploy import paths
from enarx_deploy.errors import KeepError

DEADLINE = 15.0
"""Seconds that the boot may take. With a KVM that works it takes about one."""
ASKED = "ENARX_DEPLOY_ACCELERATOR"
"""Environment variable: `tcg` has every guest emulated, `kvm` refuses to emulate any."""
DEVICE = Path("/dev/kvm")
A_NO_COUNTS = 24 * 3600.0
"""Seconds after which a boot that failed is tried again."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESSOR = ("vendor_id", "model name", "flags", "microcode")
_LIMIT = 1 << 16


class Trial(msgspec.Struct, frozen=True):
    """How the boot ended. `at` is when, in seconds since 1970; `during` is the kernel's name for the time since the
    machine was started."""

    usable: bool
    detail: str
    at: float = 0.0
    during: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is still to be believed."""
        return self.usable or (self.during == _since_start() and 0 <= time.time() - self.at < A_NO_COUNTS)


class Chosen(NamedTuple):
    """The accelerator for a guest, and why. Close `accelerator.device` when QEMU has it."""

    accelerator: qemu.Accelerator
    reason: str


def guest(accelerator: str) -> Guest:
    """A machine with the processor that this accelerator makes best."""
    return Guest("q35", "host" if accelerator == "kvm" else "max", ())


def asked() -> str:
    """The one that the environment asks for: `kvm`, `tcg`, or "" for whichever works. Raises KeepError."""
    found = os.environ.get(ASKED, "")
    if found not in ("", "kvm", "tcg"):
        raise KeepError(f"{ASKED} is {found!r}", hint="it is kvm or tcg, or not set: then KVM is used where it works")
    return found


def may_emulate() -> bool:
    """Whether a guest is emulated where KVM does not work, and the Keep is not refused."""
    return os.environ.get(ASKED, "") in ("", "tcg")


def choose(program: qemu.Qemu, boot: qemu.Boot, image: str, memory: int) -> Chosen:
    """KVM, if a boot has shown that it works; the boot is made if there was none. Else QEMU's own emulation.

    Raises KeepError where the environment asks for what cannot be.
    """
    wanted = asked()
    if wanted == "tcg":
        return Chosen(qemu.Accelerator("tcg"), f"{ASKED} asks for it")
    chosen = look(program, boot, image, memory)
    if wanted == "kvm" and chosen.accelerator.name != "kvm":
        raise KeepError(chosen.reason, hint=f"without {ASKED}=kvm the guest is emulated")
    return chosen


def look(program: qemu.Qemu, boot: qemu.Boot, image: str, memory: int) -> Chosen:
    """KVM, if a boot has shown that it works, whatever the environment asks for. Else QEMU's own emulation."""
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Chosen(qemu.Accelerator("tcg"), f"{DEVICE}: {error.strerror}")
    accelerator = qemu.Accelerator("kvm", device)
    place = _place(program, image)
    trial = _kept(place)
    if trial is None:
        trial = _boot(Plan(program, guest("kvm"), accelerator, boot, memory))
        _keep(place, trial)
    if trial.usable:
        return Chosen(accelerator, trial.detail)
    os.close(device)
    return Chosen(qemu.Accelerator("tcg"), f"KVM cannot be used: {trial.detail}")


def forget(program: qemu.Qemu, image: str) -> None:
    """Have the next guest try it again."""
    _place(program, image).unlink(missing_ok=True)


def known(program: qemu.Qemu, image: str) -> Trial | None:
    """How the boot ended on this machine, if there was one that counts."""
    return _kept(_place(program, image))


def _boot(plan: Plan) -> Trial:
    with Path(os.devnull).open("wb") as nowhere:
        try:
            machine = VirtualMachine(plan, nowhere.fileno())
        except KeepError as error:
            return Trial(usable=False, detail=str(error))
        usable = machine.reaches_its_program(DEADLINE)
        ended = machine.poll() is not None
        machine.kill()
        machine.wait()
    if usable:
        return Trial(usable=True, detail="a guest was booted with KVM")
    why = machine.explanation() if ended else f"it did not start its first program in {DEADLINE:.0f} s"
    return Trial(usable=False, detail=f"a guest was booted with it, and {why}")


def _place(program: qemu.Qemu, image: str) -> Path:
    facts = [os.uname().release, os.uname().version, platform.machine(), *_processor(), *program, image]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return paths.cache_dir("kvm") / f"{name}.json"


def _processor() -> list[str]:
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        return [line for line in first.splitlines() if line.partition("\t")[0].strip(" :") in _PROCESSOR]
    return []


def _kept(place: Path) -> Trial | None:
    try:
        with place.open("rb") as file:
            trial = msgspec.json.decode(file.read(_LIMIT), type=Trial)
    except (OSError, msgspec.MsgspecError):
        return None
    return trial if trial.counts else None


def _since_start() -> str:
    """Another after each start of this machine; empty where the kernel does not tell."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


def _keep(place: Path, trial: Trial) -> None:
    """Whole or not at all; without a place for it, the next start tries again."""
    with contextlib.suppress(OSError):
        dated = msgspec.structs.replace(trial, at=time.time(), during=_since_start())
        paths.write_atomically(place, msgspec.json.encode(dated))
