"""Who serves from a state directory: one record, locked by the Steward for as long as it lives.

The lock, not the process id in the record, says whether it lives: the kernel drops it with the process, however that
ended, and another process that gets the same id does not have it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from .errors import ConfigurationError
from .state import RECORD

LOCK_PATIENCE: Final = 2.0
"""Seconds to wait for the lock, since whoever asks for the record holds it for a moment too."""
START_PATIENCE: Final = 60.0
"""Seconds to wait for a Steward that has the lock and has not yet said where it listens."""
_STEP: Final = 0.02
_MAX_SIZE: Final = 65_536


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A Steward that serves: its process, where it listens, what Keeps call it, its files, and what it made of them.

    `reloads` counts how often it looked at its files since it started; `fault` is empty if the last time went well.
    """

    pid: int
    url: str
    audience: str
    root_pem_path: str
    policy_path: str
    policy_sha256: str = ""
    reloads: int = 0
    fault: str = ""
    metrics_url: str = ""
    """Empty if it serves none."""


class Held:
    """The record, as its Steward has it. `previous` is what the last one wrote."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.previous = _read(descriptor)
        os.ftruncate(descriptor, 0)

    def write(self, running: Running) -> None:
        """Say where the Steward listens. Whoever reads sees nothing or all of it."""
        record = msgspec.json.encode(running)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, record, 0)


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[Held]:
    """Be the Steward of a directory. Raises `ConfigurationError` if there is one."""
    descriptor = os.open(directory / RECORD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(descriptor):
            other = _read(descriptor)
            where = f" at {other.url}, process {other.pid}" if other else ""
            raise ConfigurationError(
                f"a Steward is running from {directory}{where}",
                hint="`enarx-deploy steward --stop` ends it; or give another directory with --state DIR",
            )
        yield Held(descriptor)
    finally:
        os.close(descriptor)


def find(directory: Path) -> Running | None:
    """The Steward that serves from a directory; None if there is none. One that is just starting is waited for."""
    deadline = time.monotonic() + START_PATIENCE
    while (descriptor := _open(directory)) is not None:
        with os.fdopen(descriptor, "rb"):
            if _try_lock(descriptor, fcntl.LOCK_SH):
                return None
            found = _read(descriptor)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise ConfigurationError(f"the Steward of {directory} is starting and does not get on", hint="see its log")
        time.sleep(_STEP)
    return None


def _open(directory: Path) -> int | None:
    try:
        return os.open(directory / RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + LOCK_PATIENCE
    while not _try_lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP)
    return True


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Running | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _MAX_SIZE, 0), type=Running)
    except msgspec.MsgspecError:
        return None
