"""The tree of a tag, walked from its root by what its directories say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Final

from .blobs import Blobs
from .directory_form import DIRECTORY_TYPE, Entry
from .errors import Malformed, NotFound
from .names import DEPTH_LIMIT
from .reading import read_directory

NAMES_LIMIT: Final = 10_000
"""Most files and directories in a tree."""
TOTAL_LIMIT: Final = 4_000_000_000
"""Most bytes of all files together."""
DIRECTORY_LIMIT: Final = 1_000_000
FILE_LIMITS: Final = {DIRECTORY_TYPE: DIRECTORY_LIMIT, "application/wasm": 100_000_000, "application/toml": 1_000_000}
"""Most bytes of a node, by type; the limits are those with which Enarx fetches."""

_TOO_MANY: Final = f"The tree has more than {NAMES_LIMIT:,} files and directories"

Held = Callable[[str], int | None]
"""Bytes of the content of a digest (hexadecimal), or None if it was not put into the repository."""


def limit_of(media_type: str) -> int:
    """Most bytes of a node of this type."""
    return FILE_LIMITS.get(media_type, TOTAL_LIMIT)


def find(blobs: Blobs, held: Held, root: Entry, path: tuple[str, ...]) -> Entry:
    """The entry at a path. Raises `NotFound`, also if a directory on the way was not put; `Malformed`."""
    entry, names = root, 0
    for name in path:
        if entry.type != DIRECTORY_TYPE or held(entry.hex) is None:
            raise NotFound("Not found")
        entries = _directory(blobs, entry)
        names += len(entries)
        if names > NAMES_LIMIT:
            raise Malformed(_TOO_MANY)
        if name not in entries:
            raise NotFound("Not found")
        entry = entries[name]
    return entry


def missing(blobs: Blobs, held: Held, root: Entry) -> set[str]:
    """The contents that were not put of those that are listed; none if the tree is whole.

    Raises `Malformed` beyond the limits.
    """
    found: set[str] = set()
    names, total, due = 0, 0, [("", 0, root)]
    while due:
        path, depth, entry = due.pop()
        length = held(entry.hex)
        if length is None:
            found.add(entry.hex)
            continue
        if length != entry.length or length > limit_of(entry.type):
            raise Malformed(f"Content length mismatch: {path or '/'} has {length:,} bytes")
        if entry.type != DIRECTORY_TYPE:
            total += entry.length
            if total > TOTAL_LIMIT:
                raise Malformed(f"The tree has more than {TOTAL_LIMIT:,} bytes")
            continue
        if depth > DEPTH_LIMIT:
            raise Malformed(f"The tree is more than {DEPTH_LIMIT} directories deep")
        entries = _directory(blobs, entry)
        names += len(entries)
        if names > NAMES_LIMIT:
            raise Malformed(_TOO_MANY)
        due += [(f"{path}/{name}", depth + 1, below) for name, below in entries.items()]
    return found


def named(blobs: Blobs, held: Collection[str], roots: Iterable[Entry]) -> set[str]:
    """The contents that trees name, of those that are held."""
    # Apart for each type: what one tree has as a file, another may have as a directory.
    found: set[tuple[str, str]] = set()
    due = list(roots)
    while due:
        entry = due.pop()
        if entry.hex in held and (entry.hex, entry.type) not in found:
            found.add((entry.hex, entry.type))
            if entry.type == DIRECTORY_TYPE:
                with contextlib.suppress(Malformed):  # a file that a listing calls a directory
                    due += _directory(blobs, entry).values()
    return {digest for digest, _ in found}


def _directory(blobs: Blobs, entry: Entry) -> dict[str, Entry]:
    """What a directory holds. Raises `Malformed`: only what came as a directory is known to be one."""
    with blobs.path(entry.hex).open("rb") as file:
        data = file.read(DIRECTORY_LIMIT + 1)
    if len(data) > DIRECTORY_LIMIT:
        raise Malformed(f"A directory has at most {DIRECTORY_LIMIT:,} bytes")
    return read_directory(data)
