"""What goes into an image: `contents.toml`, which a test holds to what a Keep needs."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
import tomli

FILE = Path(__file__).with_name("contents.toml")


class Python(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Modules of the standard library by their dotted names, and those that are compiled."""

    modules: tuple[str, ...]
    extensions: tuple[str, ...]


class Kernel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kernel modules in the order in which they are loaded: in every machine, and behind them in one with vsock."""

    modules: tuple[str, ...]
    vsock: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every module that the image holds."""
        return self.modules + self.vsock


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the file's own comments."""

    cmdline: str
    files: dict[str, tuple[str, ...]]
    python: Python
    kernel: Kernel
    installed: dict[str, tuple[str, ...]]
    left_out: dict[str, tuple[str, ...]]


@functools.cache
def contents() -> Contents:
    """The table, read once."""
    return msgspec.convert(tomli.loads(FILE.read_text()), Contents)
