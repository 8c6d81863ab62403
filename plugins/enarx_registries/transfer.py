"""Files on their way: read in chunks, and told of now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from enarx_deploy.protocols import Progress

CHUNK = 1 << 20
_PAUSE = 1.0  # seconds between two lines about one thing
_MEBIBYTE = 1 << 20


def chunks_of(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The content of a file, from an offset on."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while chunk := file.read(CHUNK):
            yield chunk


def told(chunks: Iterable[bytes], what: str, size: int, progress: Progress) -> Iterator[bytes]:
    """The same chunks; `progress` is told how far they are. `size` is that of all of them, 0 if it is not known."""
    passed, last = 0, time.monotonic()
    progress(what)
    for chunk in chunks:
        yield chunk
        passed += len(chunk)
        if time.monotonic() - last > _PAUSE:
            last = time.monotonic()
            whole = f" of {size / _MEBIBYTE:.0f}" if size else ""
            progress(f"{what}: {passed / _MEBIBYTE:.0f}{whole} MiB")


def from_offset(chunks: Iterable[bytes], offset: int) -> Iterator[bytes]:
    """What is left of chunks from an offset on."""
    for chunk in chunks:
        if offset < len(chunk):
            yield chunk[offset:]
        offset = max(offset - len(chunk), 0)
