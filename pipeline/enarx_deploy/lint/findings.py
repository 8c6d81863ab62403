"""What is found when a manifest is held against a module, and how the manifest would change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Place = tuple[str | int, ...]
"""The way from the manifest to a value, as in `enarx_toml.positions`."""


@dataclass(frozen=True)
class Close:
    """Make an entry of `files` one of kind `null`: it gives nothing, and the descriptors after it stay as they are."""

    index: int


@dataclass(frozen=True)
class Connect:
    """Add a destination to `network.connect`."""

    destination: str


@dataclass(frozen=True)
class ConnectNowhere:
    """Take `network.connect` out."""


@dataclass(frozen=True)
class Package:
    """Add an asset to `package.assets`."""

    source: str
    guest: str


Change = Close | Connect | ConnectNowhere | Package


@dataclass(frozen=True)
class Finding:
    """One thing that a manifest grants and the module cannot use, or that the module uses and the manifest lacks.

    `weight` is `error` where the Keep would not start, `warning` where the grant is unused or missing, `note` where it
    cannot be told. `certain` is False where it was concluded from constants in the module's data. `file` and `line`
    are where the manifest says it, "" and 0 where it does not. `change` is what `--write` does, None where it is not
    for a program to decide.
    """

    rule: str
    weight: Literal["error", "warning", "note"]
    certain: bool
    place: Place
    message: str
    hint: str
    change: Change | None = None
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = ":".join([self.file, *([str(self.line)] if self.line else [])]) if self.file else ""
        return f"{place}: {self.message}" if place else self.message
