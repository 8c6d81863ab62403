"""Directories in which something is made before it is moved to its place, and which leave nothing behind.

A staging directory lies beside where its content will go, so that moving it there is one rename. It is locked for as
long as its maker lives, however that ends. Whoever makes the next one sweeps those that nobody holds any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from enarx_files.turns import NO_LOCKS

PREFIX = ".new-"


@contextlib.contextmanager
def directory(parent: Path) -> Iterator[Path]:
    """A new directory of this process's own in `parent`, which is made if missing. Raises OSError.

    It is removed in the end, with all that was not moved out of it, unless it was moved itself.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    path, lock = _made(parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove what makers that died have left in `parent`."""
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _locked(path)
            try:
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(8)}"
        path.mkdir()
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # else another's sweep was faster than the lock
            lock = _own_lock(path)
            if path.exists():
                return path, lock
            os.close(lock)


def _own_lock(path: Path) -> int:
    """The lock of a directory that was made just now, which is not left where it cannot be locked."""
    try:
        return _locked(path)
    except OSError as error:
        if error.errno in NO_LOCKS:
            path.rmdir()
        raise


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
