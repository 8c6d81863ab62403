"""The archive that the kernel unpacks at its start: cpio in the form `newc` (initramfs buffer format, kernel.org).

Nothing in it is of this moment, machine or user: everything belongs to root, the times are 0, and names are sorted.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_HEAD = 110
_FIELDS = re.compile(rb"070701((?:[0-9A-F]{8}){13})")
_TRAILER = "TRAILER!!!"


class Entry(NamedTuple):
    """A file, link, directory or device; `path` is relative to the root, `mode` holds its kind too.

    `content` is a link's target. `device` is major and minor number. `origin` says what it was taken from.
    """

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    origin: str = ""


def file(path: str, content: bytes, origin: str, *, executable: bool = False) -> Entry:
    """A file that all can read and nobody can write."""
    return Entry(path, stat.S_IFREG | (0o555 if executable else 0o444), content, origin=origin)


def link(path: str, target: str, origin: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode(), origin=origin)


def directory(path: str) -> Entry:
    """A directory that nobody can write."""
    return Entry(path, stat.S_IFDIR | 0o555)


def device(path: str, major: int, minor: int, mode: int) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | mode, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of some entries and of the directories that they stand in."""
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        while path := path.rpartition("/")[0]:
            by_path.setdefault(path, directory(path))
    out = bytearray()
    for number, path in enumerate(sorted(by_path), start=1):
        out += _record(by_path[path], number)
    out += _record(Entry(_TRAILER, 0), 0)
    return bytes(out)


def read(data: bytes) -> Iterator[Entry]:
    """The entries of an archive as `archive` makes it. Raises ValueError."""
    at = 0
    while True:
        found = _FIELDS.fullmatch(data[at : at + _HEAD])
        if found is None:
            raise ValueError(f"there is no entry at byte {at:,}")
        words = bytes.fromhex(found[1].decode())
        values = [int.from_bytes(words[place : place + 4], "big") for place in range(0, len(words), 4)]
        name, at = _taken(data, at + _HEAD, values[11], at)
        content, at = _taken(data, at, values[6], at)
        path = name.removesuffix(b"\0").decode()
        if path == _TRAILER:
            return
        yield Entry(path, values[1], content, device=(values[9], values[10]))


def _taken(data: bytes, start: int, size: int, entry: int) -> tuple[bytes, int]:
    """So many bytes, and where the next field begins."""
    end = start + size
    if end > len(data):
        raise ValueError(f"the entry at byte {entry:,} is cut short")
    return data[start:end], end + -end % 4


def _record(entry: Entry, inode: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, user, group, links, time, size, the file system's device, this device, length of the name, checksum
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return _padded(head) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
