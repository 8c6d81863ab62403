"""A log that is put aside when it has grown to its limit: NAME is the newest, then NAME.1, NAME.2 and so on.

What is written goes through a pipe and a thread of this process, so that a log can be put aside between two pieces, and
a disk that is full costs lines of the log and nothing else: they are counted, and the log says how many, when it can.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

DEFAULT_SIZE = 8 << 20
DEFAULT_COUNT = 4
_PIECE = 65536
_ENDS_WITHIN = 5.0  # seconds that what was written last has to reach the log


class LogFile:
    """See the module. `descriptor` is where to write; at most `count` files of `size` bytes are kept."""

    def __init__(self, path: Path, *, size: int = DEFAULT_SIZE, count: int = DEFAULT_COUNT) -> None:
        self._path = path
        self._size = size
        self._count = count
        self._lost = 0
        self._written = path.stat().st_size if path.exists() else 0
        self._source, self.descriptor = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"log-{path.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was written, and no more."""
        os.close(self.descriptor)
        self._thread.join(_ENDS_WITHIN)

    def _run(self) -> None:
        with os.fdopen(self._source, "rb", buffering=0) as source:
            while piece := source.read(_PIECE):
                for part in _cut(piece, self._size):
                    self._take(part)

    def _take(self, piece: bytes) -> None:
        lost = f"[{self._lost} bytes of this log are lost: they could not be written]\n".encode() if self._lost else b""
        try:
            if self._written and self._written + len(piece) > self._size:
                put_aside(self._path, self._count)
                self._written = 0
            self._append(lost + piece)
        except OSError:
            self._lost += len(piece)
        else:
            self._lost = 0
            self._written += len(lost + piece)

    def _append(self, data: bytes) -> None:
        """All of it, or as good as nothing: a part that fitted is taken back."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                written = 0
                while written < len(data):
                    written += os.write(descriptor, data[written:])
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def _cut(piece: bytes, size: int) -> Iterator[bytes]:
    """The piece in parts of at most `size` bytes, each up to the end of a line where there is one."""
    start = 0
    while len(piece) - start > size:
        end = piece.rfind(b"\n", start, start + size) + 1 or start + size
        yield piece[start:end]
        start = end
    yield piece[start:]


def put_aside(path: Path, count: int = DEFAULT_COUNT) -> None:
    """Make room for a new log in the place of `path`; of those before, the newest `count - 1` are kept."""
    for number in range(count - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        newer = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)
    if count == 1:
        path.unlink(missing_ok=True)


def parts(path: Path) -> list[Path]:
    """The files of a log, oldest first."""
    numbered = [(int(one.suffix[1:]), one) for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdecimal()]
    return [one for _, one in sorted(numbered, reverse=True)] + [path]


class Reader:
    """Reads a log from its oldest file on, and goes on in the new one when it was put aside."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = [one.open("rb") for one in parts(path) if one.exists()]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._waiting:
            file.close()

    def pieces(self) -> Iterator[bytes]:
        """What there is to read now."""
        while self._waiting or self._open_newest():
            while piece := self._waiting[0].read(_PIECE):
                yield piece
            if len(self._waiting) == 1 and not self._was_put_aside():
                return
            self._waiting.pop(0).close()

    def _open_newest(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self._waiting.append(self._path.open("rb"))
        return bool(self._waiting)

    def _was_put_aside(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._path.stat().st_ino != os.fstat(self._waiting[0].fileno()).st_ino
        return False
