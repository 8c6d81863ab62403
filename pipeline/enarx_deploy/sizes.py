"""Numbers of bytes, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx_deploy.models import Package

_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}

SLOW_TO_COMPILE = 1 << 20
"""Bytes of wasm from which on whoever waits is told that it becomes native code: about two seconds for each MiB."""


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit, factor in _UNITS.items():
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def slow_to_compile(package: Package) -> str:
    """The size of a package's module where it is so large that whoever waits is told of it, else ""."""
    bytes_of_wasm = package.module.size if package.module else 0
    return size(bytes_of_wasm) if bytes_of_wasm >= SLOW_TO_COMPILE else ""
