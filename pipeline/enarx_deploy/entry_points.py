"""The entry points of installed distributions, as the packaging specifications lay them out on disk.

They are found as `importlib.metadata` finds them, whose import alone takes as long as all else that a command needs.
What lies in a zip file is not looked at: our own native part could not be imported from one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

_SUFFIXES = (".dist-info", ".egg-info")
_METADATA = ("METADATA", "PKG-INFO")


class EntryPoint(NamedTuple):
    """An entry point, and the name and the version of the distribution that it belongs to."""

    name: str
    value: str
    distribution: str
    version: str


def of_group(group: str) -> list[EntryPoint]:
    """Every entry point of a group. Of distributions of one name, the first on `sys.path` counts, which is imported."""
    found = []
    for folder in _distributions():
        pairs = _pairs(_read(f"{folder}/entry_points.txt"), group)
        if pairs:
            headers = _headers(folder)
            found += [EntryPoint(*pair, headers.get("Name", ""), headers.get("Version", "")) for pair in pairs]
    return found


def _distributions() -> Iterator[str]:
    seen = set()
    for place in sys.path:
        for folder in _metadata_folders(place or "."):
            # Before its first hyphen stands the name, in which hyphens and dots have become underscores.
            name = folder.rpartition(".")[0].partition("-")[0].lower()
            if name not in seen:
                seen.add(name)
                yield f"{place or '.'}/{folder}"


def _metadata_folders(place: str) -> list[str]:
    """Their names; pip puts `~` before that of a distribution which it is about to remove, or was."""
    try:
        names = os.listdir(place)  # noqa: PTH208 - names only
    except OSError:
        return []
    return [name for name in names if name.endswith(_SUFFIXES) and not name.startswith("~")]


def _pairs(text: str, group: str) -> list[tuple[str, str]]:
    """Name and value of each line of a section: `entry_points.txt` is an INI file."""
    pairs, section = [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            pairs.append((name.strip(), value.strip()))
    return pairs


def _headers(folder: str) -> dict[str, str]:
    """The fields at the head of a distribution's metadata, which has the form of an e-mail."""
    text = next(filter(None, (_read(f"{folder}/{name}") for name in _METADATA)), "")
    lines = text.partition("\n\n")[0].splitlines()
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as light as can be
            return file.read()
    except OSError:
        return ""
