"""The files and devices of a machine, below a root."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path

_LIMIT = 1 << 16  # bytes of a file of the kernel that are read: /proc/cpuinfo tells of one processor in the first
_REGISTERS = 16  # bytes
_KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h
_SEV_ISSUE_CMD = 0xC010_5300  # linux/psp-sev.h
_SEV_COMMAND = struct.Struct("=IQI")  # its number, where its data is, and the firmware's own error
_SEV_GET_ID2 = 8
_SEV_ID = struct.Struct("=QI")  # where the answer goes, and how long it may be
_CHIP_ID = 64  # bytes for each socket


def _memlock() -> int:
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]


class Machine:
    """Paths are relative to `root`. What cannot be read is not there."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        cpuid: Callable[[int, int], bytes | None] | None = None,
        ioctl: Callable[..., int] = fcntl.ioctl,
        memlock: Callable[[], int] = _memlock,
    ) -> None:
        self._root = root
        self._cpuid = cpuid
        self._ioctl = ioctl
        self.memlock = memlock
        """Bytes that this user may lock into memory; -1 for any number."""

    def has(self, path: str) -> bool:
        """Whether there is something at `path`."""
        try:
            return (self._root / path).exists()
        except OSError:
            return False

    def text(self, path: str) -> str | None:
        """The beginning of a file, without space around it; None where it cannot be read."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(_LIMIT).decode(errors="replace").strip()
        except OSError:
            return None

    def cpuid(self, leaf: int, subleaf: int) -> bytes | None:
        """The four registers that CPUID answers, as cpuid(4) has them; None where it may not be asked."""
        if self._cpuid:
            return self._cpuid(leaf, subleaf)
        try:
            descriptor = os.open(self._root / "dev/cpu/0/cpuid", os.O_RDONLY | os.O_CLOEXEC)
            try:
                answer = os.pread(descriptor, _REGISTERS, subleaf << 32 | leaf)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return answer if len(answer) == _REGISTERS else None

    def entries(self, path: str) -> list[str]:
        """The names in a directory; none where there is no such directory."""
        try:
            return sorted(entry.name for entry in (self._root / path).iterdir())
        except OSError:
            return []

    def can_be_used(self, path: str) -> bool:
        """Whether this user may read and write a device."""
        return os.access(self._root / path, os.R_OK | os.W_OK)

    def kvm_version(self) -> int | None:
        """The version of KVM's API; None where KVM does not answer."""
        try:
            descriptor = os.open(self._root / "dev/kvm", os.O_RDWR | os.O_CLOEXEC)
            try:
                return self._ioctl(descriptor, _KVM_GET_API_VERSION)
            finally:
                os.close(descriptor)
        except OSError:
            return None

    def sev_command(self, number: int, size: int) -> bytes | None:
        """The answer, of `size` bytes, to a command of `/dev/sev` that changes nothing; None where there is none."""
        answer = ctypes.create_string_buffer(size)
        return answer.raw if self._sev(number, answer) else None

    def sev_chip(self) -> bytes | None:
        """The identity of the processor in the first socket, as reports have it; None where it is not told."""
        for sockets in (1, 2):  # the firmware wants room for just as many as there are
            answer = ctypes.create_string_buffer(sockets * _CHIP_ID)
            wanted = ctypes.create_string_buffer(_SEV_ID.pack(ctypes.addressof(answer), len(answer)), _SEV_ID.size)
            if self._sev(_SEV_GET_ID2, wanted):
                return answer.raw[:_CHIP_ID]
        return None

    def _sev(self, number: int, data: ctypes.Array[ctypes.c_char]) -> bool:
        """Whether the firmware has taken a command."""
        command = bytearray(_SEV_COMMAND.pack(number, ctypes.addressof(data), 0))
        try:
            descriptor = os.open(self._root / "dev/sev", os.O_RDWR | os.O_CLOEXEC)
            try:
                self._ioctl(descriptor, _SEV_ISSUE_CMD, command)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True
