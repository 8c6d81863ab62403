"""Files and directories that are opened without following a link, and read once.

What is checked is the opened descriptor, which stays the same file or directory; a path need not. Every function
raises PackageError, and calls the file `shown` in its message.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from enarx_deploy.errors import PackageError

_CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def opened_below(root: Path, source: str) -> Iterator[int]:
    """Open a path below `root` step by step, so that no step can be a link or lead out."""
    parts = PurePosixPath(source).parts
    if not parts or ".." in parts or PurePosixPath(source).is_absolute():
        raise PackageError(f"{source} is not inside the project", hint="copy what is packaged into the project")
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(opened(root))
        for count, name in enumerate(parts, 1):
            descriptor = stack.enter_context(opened_in(descriptor, name, "/".join(parts[:count])))
        yield descriptor


def opened(path: Path) -> contextlib.AbstractContextManager[int]:
    """Open a file or directory by its path."""
    return opened_in(None, str(path), str(path))


@contextlib.contextmanager
def opened_in(directory: int | None, name: str, shown: str) -> Iterator[int]:
    """Open a file or directory. Anything else is refused before it is opened, for opening can act on it."""
    try:
        _require_plain(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode, shown)
        descriptor = os.open(name, _OPEN, dir_fd=directory)
    except OSError as error:
        raise PackageError(
            f"cannot open {shown}: {error.strerror}", hint="is the path right, and may you read it?"
        ) from error
    try:
        _require_plain(os.fstat(descriptor).st_mode, shown)
        yield descriptor
    finally:
        os.close(descriptor)


def names(directory: int, shown: str, limit: int) -> list[str]:
    """The names in an opened directory, in byte order; more than `limit` are refused before they are all read."""
    with os.scandir(directory) as entries:
        found = [entry.name for entry in itertools.islice(entries, limit + 1)]
    if len(found) > limit:
        raise PackageError(f"{shown} holds more than {limit:,} files and folders", hint="package less")
    return sorted(found, key=os.fsencode)


def _require_plain(mode: int, shown: str) -> None:
    if stat.S_ISLNK(mode):
        raise PackageError(f"{shown} is a symbolic link", hint="put what it points to in its place")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise PackageError(f"{shown} is neither a file nor a directory", hint="package files and directories alone")


def require_file(descriptor: int, shown: str) -> None:
    """Refuse a directory."""
    if is_directory(descriptor):
        raise PackageError(f"{shown} is a directory", hint="name a file")


def is_directory(descriptor: int) -> bool:
    """Whether what was opened is a directory."""
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def chunks(descriptor: int, shown: str, limit: int) -> Iterator[bytes]:
    """The content of an opened file, once; more than `limit` bytes are refused."""
    if os.fstat(descriptor).st_size > limit:  # as of a sparse file, which takes long to read
        raise _too_large(shown, limit)
    left = limit
    while chunk := _read(descriptor, min(_CHUNK, left + 1), shown):
        left -= len(chunk)
        if left < 0:
            raise _too_large(shown, limit)
        yield chunk


def _too_large(shown: str, limit: int) -> PackageError:
    return PackageError(f"{shown} is larger than {limit:,} bytes", hint="package less")


def content(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes. A link, a pipe or a device is none."""
    with opened(path) as descriptor:
        require_file(descriptor, str(path))
        return b"".join(chunks(descriptor, str(path), limit))


def _read(descriptor: int, size: int, shown: str) -> bytes:
    try:
        return os.read(descriptor, size)
    except OSError as error:
        raise PackageError(f"cannot read {shown}: {error.strerror}", hint="is the disk sound?") from error
