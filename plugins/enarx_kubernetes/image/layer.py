"""A layer: a tar of files, directories and links with nothing in it of time, owner or machine.

It is not compressed, so that it depends on no compressor's version: the same files make the same digest everywhere.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from enarx_deploy import paths

_BLOCK = 512
_CHUNK = 1 << 20
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class File:
    """A file: where its content is, or the content itself."""

    content: Path | bytes
    executable: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """The content."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    to: str


@dataclass(frozen=True)
class Directory:
    """A directory that is there for its own sake."""

    mode: int = 0o755


Entry = File | Link | Directory


@dataclass(frozen=True)
class Layer:
    """Entries by absolute path. The directories above them are made."""

    entries: Mapping[str, Entry]
    _measured: list[tuple[str, int]] = field(default_factory=list, compare=False)

    @property
    def digest(self) -> str:
        """Of the tar, as `sha256:HEX`; what a registry and an image's configuration both call it."""
        return self._measure()[0]

    @property
    def size(self) -> int:
        """Of the tar, in bytes."""
        return self._measure()[1]

    def chunks(self) -> Iterator[bytes]:
        """The tar, made anew each time it is asked for."""
        for path, entry in sorted(self._whole().items()):
            yield _header(path, entry).tobuf(tarfile.PAX_FORMAT)
            if isinstance(entry, File):
                yield from entry.chunks()
                yield bytes(-entry.size % _BLOCK)
        yield _END

    def _measure(self) -> tuple[str, int]:
        if not self._measured:
            self._measured.append(self._remembered() or self._hashed())
        return self._measured[0]

    def _remembered(self) -> tuple[str, int] | None:
        """What an earlier look at the same files found: their sizes and times say that they are the same."""
        try:
            digest, size = json.loads(self._note().read_bytes())
        except (OSError, ValueError):
            return None
        return str(digest), int(size)

    def _hashed(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks():
            digest.update(chunk)
            size += len(chunk)
        found = f"sha256:{digest.hexdigest()}", size
        paths.write_atomically(self._note(), json.dumps(found).encode())
        return found

    def _note(self) -> Path:
        seen = hashlib.sha256()
        for path, entry in sorted(self._whole().items()):
            seen.update(repr((path, entry)).encode())
            if isinstance(entry, File) and isinstance(entry.content, Path):
                status = entry.content.stat()
                seen.update(repr((status.st_size, status.st_mtime_ns, status.st_ino)).encode())
        return paths.cache_dir("kubernetes", "layers") / f"{seen.hexdigest()}.json"

    def _whole(self) -> dict[str, Entry]:
        parents = {str(parent): Directory() for path in self.entries for parent in PurePosixPath(path).parents}
        parents.pop("/", None)
        return {**parents, **self.entries}


def _header(path: str, entry: Entry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path.lstrip("/"))
    match entry:
        case File():
            header.size = entry.size
            header.mode = 0o755 if entry.executable else 0o644
        case Link():
            header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.to, 0o777
        case Directory():
            header.type, header.mode = tarfile.DIRTYPE, entry.mode
    return header
