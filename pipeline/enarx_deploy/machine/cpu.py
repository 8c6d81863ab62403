"""The processor: what CPUID says, by /dev/cpu/0/cpuid, and what the kernel says of it in /proc/cpuinfo."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Literal, NamedTuple

from enarx_deploy.machine.tree import Machine

Register = Literal["eax", "ebx", "ecx", "edx"]

EXTENDED = 0x8000_0000
"""Leaf that says which is the last of the extended leaves."""
SEV = 0x8000_001F
"""Leaf of memory encryption (AMD APM volume 3, appendix E.4.17)."""
FEATURES = 7
"""Leaf of extended features (Intel SDM volume 2, CPUID)."""
SGX = 0x12
"""Leaf of SGX: subleaf 0 its versions, from 2 on its memory."""


class Registers(NamedTuple):
    """What one CPUID leaf answers."""

    eax: int
    ebx: int
    ecx: int
    edx: int


class Cpu:
    """The first processor of a machine; the others are taken to be like it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @cached_property
    def vendor(self) -> str:
        """`AuthenticAMD`, `GenuineIntel` or another; empty where the kernel does not say."""
        return self._info.get("vendor_id", "")

    @cached_property
    def model(self) -> str:
        """The name of its model."""
        return self._info.get("model name", "")

    @cached_property
    def family(self) -> tuple[int, int] | None:
        """Its family and the number of its model; None where the kernel does not say."""
        said = self._info.get("cpu family", ""), self._info.get("model", "")
        return (int(said[0]), int(said[1])) if all(word.isascii() and word.isdecimal() for word in said) else None

    @cached_property
    def flags(self) -> frozenset[str]:
        """What the kernel uses of it, by the kernel's words."""
        return frozenset(self._info.get("flags", "").split())

    def leaf(self, leaf: int, subleaf: int = 0) -> Registers | None:
        """What CPUID answers; None where it does not know the leaf, or may not be asked."""
        last = self._read(leaf & EXTENDED, 0)
        if last is None or leaf > last.eax:
            return None
        return self._read(leaf, subleaf)

    def bit(self, leaf: int, register: Register, number: int) -> bool | None:
        """One bit of a leaf's register; None where CPUID may not be asked."""
        if self._read(0, 0) is None:
            return None
        registers = self.leaf(leaf)
        return registers is not None and bool(getattr(registers, register) >> number & 1)

    def has(self, flag: str, leaf: int, register: Register, number: int) -> bool:
        """Whether it has a feature: by CPUID, else by the kernel's word for it."""
        said = self.bit(leaf, register, number)
        return flag in self.flags if said is None else said

    def _read(self, leaf: int, subleaf: int) -> Registers | None:
        answer = self._machine.cpuid(leaf, subleaf)
        return Registers(*struct.unpack("<4I", answer)) if answer else None

    @cached_property
    def _info(self) -> dict[str, str]:
        first = (self._machine.text("proc/cpuinfo") or "").partition("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
