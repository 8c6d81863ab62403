"""Contents by their SHA-256 digest, in files: there whole and flushed to the disk, or not at all.

blobs/ab/abcd…   a content, under its digest
incoming/        what is on its way; whatever lies there when a server starts is of a publish that was cut off
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from enarx_files.whole import flush_directory

from .directory_form import Digests
from .errors import Full, Malformed

BLOBS: Final = "blobs"
INCOMING: Final = "incoming"
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Blobs:
    """The contents of a store. Safe to use from many threads, but that `remove` and `settle` exclude each other."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / BLOBS
        self._incoming = directory / INCOMING

    @property
    def place(self) -> Path:
        """The directory that they are in."""
        return self._blobs

    def open_up(self, known: Callable[[str], bool]) -> None:
        """Make the directories; remove what was cut off, and every content of which `known` does not answer true."""
        for place in (self._blobs, self._incoming):
            place.mkdir(mode=0o700, exist_ok=True)
        for left in self._incoming.iterdir():
            left.unlink()
        for blob in self._blobs.glob("??/*"):
            if not known(blob.name):
                blob.unlink()

    def receive(self) -> Incoming:
        """Begin to take a content in. Raises `Full`."""
        return Incoming(self._incoming / secrets.token_hex(16))

    def settle(self, incoming: Incoming) -> str:
        """Put a content that came whole under its digest, which is returned. Raises `Full`."""
        digest = incoming.sha256
        place = self.path(digest)
        with refusing_when_full():
            if not place.parent.is_dir():
                place.parent.mkdir(mode=0o700, exist_ok=True)
                flush_directory(self._blobs)
            incoming.path.replace(place)
            flush_directory(place.parent)
        return digest

    def remove(self, digest: str) -> None:
        """Forget a content."""
        self.path(digest).unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        """Where a content is, by its digest in hexadecimal."""
        return self._blobs / digest[:2] / digest


class Incoming:
    """A content on its way: written and digested piece by piece. Use it as a context, which removes what is left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digests = Digests()
        with refusing_when_full():
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", 0)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Of what has come, in hexadecimal."""
        return self._digests.entry("").hex

    @property
    def length(self) -> int:
        """Bytes that have come."""
        return self._digests.length

    def write(self, data: bytes) -> None:
        """Take in the next piece. Raises `Full`."""
        with refusing_when_full():
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        self._digests.update(data)

    def finish(self, digests: Mapping[str, str]) -> None:
        """Flush it to the disk, if it is what these digests name. Raises `Malformed`, `Full`."""
        found = self._digests.entry("").digest
        if any(found[algorithm] != text for algorithm, text in digests.items()):
            raise Malformed("Content digest mismatch")
        with refusing_when_full():
            os.fsync(self._file.fileno())


@contextlib.contextmanager
def refusing_when_full() -> Iterator[None]:
    """Raise `Full` where the disk takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise Full("The disk of this registry is full") from error
