"""One at a time: locks (flock(2)), which end with the process that has them, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

WAIT: Final = 60.0
"""Seconds that a change of a file waits for another one, which takes a moment unless its process is stopped."""
NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP})
"""What a file system says that has no locks, such as NFS whose server lends none."""
_LOOK_EVERY = 0.02  # seconds


@contextlib.contextmanager
def turn(path: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold this from before a file is read until it is written anew, so that no change in between is lost.

    The lock is a file beside it, `.NAME.lock`, which stays. Raises OSError, and TimeoutError, which is one, where
    another has its turn for all of `wait` seconds.
    """
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not take(descriptor, wait):
            raise TimeoutError(errno.ETIMEDOUT, f"another process has been changing it for {wait:g} seconds", str(path))
        yield
    finally:
        os.close(descriptor)


def take(descriptor: int, wait: float) -> bool:
    """Lock an open file, for as long as it is open; False where another has the lock for all of `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_EVERY)
