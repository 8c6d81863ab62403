"""The tar in which a package's files travel: one plain file after another, and nothing of time, owner or mode.

Written by the standard library, from the same files always the same bytes (pax, where a path is too long for ustar).
Read strictly, from a stream that nobody vouches for yet: plain files alone, the only extension a longer path.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from enarx_deploy.errors import PackageError

_BLOCK = 512
_NOTHING = bytes(_BLOCK)
_END = 2 * _BLOCK
_PAX_LIMIT = 16 << 10
_PAX_RECORD = re.compile(rb"([0-9]{1,5}) path=([^\n\0]+)\n")
_HINT = "was it published by another tool?"

File = tuple[str, int, Callable[[], Iterable[bytes]]]
"""A path, a size, and what makes the content."""


def write(files: Sequence[File], *, executable: bool = False) -> Iterator[bytes]:
    """The archive of these files, in this order, as it grows."""
    for path, size, content in files:
        header = tarfile.TarInfo(path)
        header.size = size
        header.mode = 0o755 if executable else 0o644
        yield header.tobuf(tarfile.PAX_FORMAT)
        yield from content()
        yield _NOTHING[: -size % _BLOCK]
    yield bytes(_END)


def read(chunks: Iterable[bytes], shown: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each file's path and content. A content is read, or skipped, before the next file. Raises PackageError.

    All of `chunks` is read in the end, so that whoever makes them can check the whole.
    """
    stream = _Stream(chunks, shown)
    longer = ""
    while (block := stream.take(_BLOCK)) != _NOTHING:
        header = _header(block, shown)
        if header.type == tarfile.XHDTYPE and not longer and header.size <= _PAX_LIMIT:
            longer = _long_path(stream.take(header.size + -header.size % _BLOCK)[: header.size], shown)
            continue
        if header.type != tarfile.REGTYPE:
            raise PackageError(f"{shown} holds something else than plain files: {header.name!a}", hint=_HINT)
        content = stream.part(header.size)
        yield longer or header.name, content
        for _ in content:
            pass
        stream.take(-header.size % _BLOCK)
        longer = ""
    stream.require_nothing_more()


def _header(block: bytes, shown: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise PackageError(f"{shown} is damaged: {error}", hint=_HINT) from error
    if header.size < 0:
        raise PackageError(f"{shown} is damaged: a file of less than nothing", hint=_HINT)
    return header


def _long_path(records: bytes, shown: str) -> str:
    found = _PAX_RECORD.fullmatch(records)
    if found is None or int(found[1]) != len(records):
        raise PackageError(f"{shown} holds an extension that is not known here", hint=_HINT)
    return found[2].decode(errors="replace")


class _Stream:
    """Bytes that come in chunks, taken in other portions. Holds one chunk at most."""

    def __init__(self, chunks: Iterable[bytes], shown: str) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._at = 0  # how much of that is taken
        self._shown = shown

    def take(self, count: int) -> bytes:
        """Exactly so many bytes, few enough to hold."""
        return b"".join(self.part(count))

    def part(self, count: int) -> Iterator[bytes]:
        """Exactly so many bytes, as they come."""
        while count:
            if self._at == len(self._held):
                self._held, self._at = self._next(), 0
            taken = self._held[self._at : self._at + count]
            self._at += len(taken)
            count -= len(taken)
            yield taken

    def require_nothing_more(self) -> None:
        """Refuse anything but zeros."""
        for chunk in chain([self._held[self._at :]], self._chunks):
            if chunk.strip(b"\0"):
                raise PackageError(f"{self._shown} goes on after its end", hint=_HINT)

    def _next(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                return chunk
        raise PackageError(f"{self._shown} ends in the middle", hint="fetch it again")
