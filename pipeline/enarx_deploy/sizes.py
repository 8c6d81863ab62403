"""Numbers of bytes, for people."""

from __future__ import annotations

_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit, factor in _UNITS.items():
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
