"""QEMU, as this machine has it: found, given a guest's command line, started with as few rights as can be.

What a guest boots is read once, checked, and handed over as sealed memory: the bytes that were measured are the bytes
that boot, whatever becomes of the files.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from enarx_backends.confidential import Guest
from enarx_backends.own_user import OwnUser
from enarx_backends.vsock import Line
from enarx_deploy.errors import KeepError

PROGRAM = "qemu-system-x86_64"
OLDEST = (8, 2)
"""Oldest version: it takes a device of KVM as a descriptor, and 7.2 loses guests of Linux 6.12."""
SALLYPORT = "org.enarx.sallyport.0"
LOG = "org.enarx.log.0"

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_VERSION = re.compile(r"version (\d+)\.(\d+)(?:\.(\d+))?")
_DEBIANS = (10, 0)
_OF_DEBIAN = " (Debian: qemu-system-x86, on bookworm from bookworm-backports)"
_PATIENCE = 10.0
_TRANSLATED = 128  # MiB of translated code that an emulated guest may have; by itself QEMU takes a gigabyte

_LAUNCHER = """
import ctypes, os, sys
host, user, program, *words = sys.argv[1:]
if user:
    os.setgroups([])
    os.setresgid(int(user), int(user), int(user))
    os.setresuid(int(user), int(user), int(user))
if ctypes.CDLL(None).prctl(1, 9, 0, 0, 0) or os.getppid() != int(host):
    os._exit(1)
try:
    os.execv(program, [program, *words])
except OSError as error:
    sys.exit(f"user {os.getuid()} cannot start {program}: {error.strerror}")
"""
"""Gives rights up, then asks the kernel to kill it with its host (PR_SET_PDEATHSIG, which a change of user takes back
and a start of a program does not), then becomes QEMU. A process of its own, since `preexec_fn` may hang where threads
run."""


class Qemu(NamedTuple):
    """The program and its version."""

    program: str
    version: str


class Accelerator(NamedTuple):
    """How the guest's processor is made: `kvm` with the device's descriptor, or `tcg`."""

    name: str
    device: int = -1

    @property
    def words(self) -> Sequence[str]:
        """For the command line."""
        if self.name == "kvm":
            return ("-add-fd", f"fd={self.device},set=1", "-accel", "kvm,device=/dev/fdset/1")
        return ("-accel", f"tcg,thread=single,tb-size={_TRANSLATED}")


class Boot(NamedTuple):
    """What a guest boots: two sealed files in memory and the kernel's command line."""

    kernel: int
    initrd: int
    cmdline: str


def find(oldest: tuple[int, int] = OLDEST) -> Qemu:
    """QEMU on this machine, of this version or a later one. Raises KeepError."""
    wanted = ".".join(map(str, oldest))
    install = f"install QEMU {wanted} or later{_OF_DEBIAN if oldest <= _DEBIANS else ''}"
    program = shutil.which(PROGRAM)
    if program is None:
        raise KeepError(f"{PROGRAM} is not on PATH", hint=install)
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KeepError(f"{program} cannot be started: {error}", hint=install) from error
    found = _VERSION.search(said.stdout)
    if found is None:
        raise KeepError(f"{program} does not say its version: {said.stderr.strip()[-300:]}", hint=install)
    version = tuple(int(part) for part in found.groups() if part)
    if version < oldest:
        told = found[0].removeprefix("version ")
        raise KeepError(f"{program} is version {told}, which is too old: {wanted} is needed", hint=install)
    return Qemu(program, ".".join(map(str, version)))


def sealed(content: bytes, name: str) -> int:
    """A descriptor of memory that holds this for good. Raises OSError."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Channels(NamedTuple):
    """Descriptors of QEMU's ends: the sallyport's port, the log's, and the monitor."""

    sallyport: int
    log: int
    monitor: int


def words(
    guest: Guest, accelerator: Accelerator, boot: Boot, channels: Channels, memory: int, line: Line | None = None
) -> list[str]:
    """The command line of a guest with `memory` bytes: no device but what is named here, and no configuration.

    Files are named by descriptor, since who runs QEMU may not be able to reach them by path. A `line` has the place of
    the sallyport's port.
    """
    sallyport = (
        *("-chardev", f"socket,id=sallyport,fd={channels.sallyport}"),
        *("-device", f"virtserialport,id=sallyport,chardev=sallyport,name={SALLYPORT}"),
    )
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", _SANDBOX),
        *("-machine", guest.machine, *accelerator.words, "-cpu", guest.cpu, "-smp", "1"),
        *("-m", f"{-(-memory // (1 << 20))}M", *guest.options),
        *("-kernel", f"/proc/self/fd/{boot.kernel}", "-initrd", f"/proc/self/fd/{boot.initrd}"),
        *("-append", boot.cmdline),
        *("-chardev", f"socket,id=monitor,fd={channels.monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-device", "virtio-serial-pci"),
        *(line.words if line else sallyport),
        *("-chardev", f"socket,id=log,fd={channels.log}"),
        *("-device", f"virtserialport,id=log,chardev=log,name={LOG}"),
    ]


def spawn(
    qemu: Qemu, arguments: Sequence[str], descriptors: Sequence[int], stderr: int, own: OwnUser
) -> subprocess.Popen[bytes]:
    """Start QEMU, as a user of its own where root starts it; it is killed when this thread's process ends.

    Raises KeepError.
    """
    user = str(own.number) if own.number else ""
    command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), user, qemu.program, *arguments]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            pass_fds=descriptors,
            env={},
            cwd="/",
            process_group=0,
        )
    except OSError as error:
        raise KeepError(
            f"cannot start {qemu.program}: {error.strerror}",
            hint="`enarx-deploy platform kvm` shows what a machine needs for it",
        ) from error
