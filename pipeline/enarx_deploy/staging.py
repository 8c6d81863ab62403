"""Directories in which something is made before it is moved to its place, and which leave nothing behind.

A staging directory lies beside where its content will go, so that moving it there is one rename. It is locked for as
long as its maker lives, however that ends. Whoever makes the next one sweeps those that nobody holds any more. On NFS
only the machine that has locked a directory sees that: what others make is known by its name, and swept by its age.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from enarx_files.turns import NO_LOCKS

PREFIX = ".new-"
ABANDONED_AFTER = 86_400
"""Seconds after which what was made on another machine, or before this one was started, is taken for abandoned."""
_NAME = re.compile(rf"{re.escape(PREFIX)}([0-9a-f]{{16}})-[0-9a-f]{{16}}")


@contextlib.contextmanager
def directory(parent: Path) -> Iterator[Path]:
    """A new directory of this process's own in `parent`, which is made if missing. Raises OSError.

    It is removed in the end, with all that was not moved out of it, unless it was moved itself.
    """
    parent.mkdir(parents=True, exist_ok=True)
    path, lock = _made(parent)
    try:
        sweep(parent, now=path.stat().st_mtime)  # by the clock that dates the others, which may be a server's
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path, now: float) -> None:
    """Remove what makers that died have left in `parent`. `now` is in seconds, as files have their times."""
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if _may_be_abandoned(path, now):
                lock = _locked(path)
                try:
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)


def _may_be_abandoned(path: Path, now: float) -> bool:
    """Whether it is a staging directory, of which its lock tells here whether its maker lives."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return False
    return found[1] == _boot() or path.lstat().st_mtime < now - ABANDONED_AFTER


@functools.cache
def _boot() -> str:
    """This run of this machine's kernel, among whose processes locks of directories are seen (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:16]


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / f"{PREFIX}{_boot()}-{secrets.token_hex(8)}"
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
