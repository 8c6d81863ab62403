"""Files that are there whole or not at all, for whoever reads them and after a crash."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
from pathlib import Path
from typing import Final

from enarx_files.turns import NO_LOCKS

_WRITERS: Final = 64
"""Most of one file at once."""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash, meets either the old content or the new one, never a part.

    The temporary file is born with `mode`, so a secret is never readable by others, not even for a moment. It is locked
    while its writer lives: what one that died has left is removed by the next writer of the same file, save on a file
    system without locks, where it stays.
    """
    temporary, descriptor = _new_beside(path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _new_beside(path: Path, mode: int) -> tuple[Path, int]:
    """A new file of this process's own, locked, and its descriptor. Raises OSError."""
    names = (path.with_name(f".{path.name}.{number}") for number in range(_WRITERS + 1))
    for temporary, following in itertools.pairwise(names):
        if _is_free(temporary) and (descriptor := _made(temporary, mode)) is not None:
            _is_free(following)  # of writers at once several can have died
            return temporary, descriptor
    raise FileExistsError(errno.EEXIST, f"{_WRITERS} others are writing it", str(path))


def _made(temporary: Path, mode: int) -> int | None:
    """None where another was faster, to have the name or to take what is new for a dead writer's."""
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        _lock(descriptor)
        if os.path.samestat(os.fstat(descriptor), temporary.lstat()):
            return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> None:
    """Lock it where that is possible: where it is not, nobody takes it for a dead writer's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _is_free(temporary: Path) -> bool:
    """Whether nothing has this name, or what had it was a dead writer's and is removed. Raises OSError."""
    try:
        # For writing, too, as NFS asks of whoever wants a lock for itself.
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:  # a link, or another user's; or nothing can be found in the directory, which this says
        temporary.lstat()
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), temporary.lstat()):
            temporary.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def flush_directory(directory: Path) -> None:
    """Have what was renamed in a directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
