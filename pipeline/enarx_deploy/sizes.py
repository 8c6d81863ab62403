"""Numbers of bytes, for people."""

from __future__ import annotations

_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}

SLOW_TO_COMPILE = 1 << 20
"""Bytes of wasm from which on whoever waits is told that it becomes native code: about two seconds for each MiB."""


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit, factor in _UNITS.items():
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
