"""End a Keep from outside: its host process is asked to, and killed when it does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from enarx_deploy.errors import KeepError
from enarx_deploy.host import requests, state

_KILL_AFTER = 5.0  # seconds that a host process has after the grace period, before it is killed
_GIVE_UP_AFTER = 60.0  # seconds after that: the kernel may take long to end a process on a loaded machine


def end(directory: Path, grace: float) -> None:
    """End the Keep of a directory, its open connections after at most `grace` seconds. Returns when it has ended.

    Raises KeepError if it does not.
    """
    _end(directory, {"do": "stop", "grace": grace}, grace + _KILL_AFTER)


def fail(directory: Path, reason: str) -> None:
    """End the Keep of a directory at once, as one that has failed. Returns when it has ended.

    Raises KeepError if it does not.
    """
    _end(directory, {"do": "fail", "reason": reason}, _KILL_AFTER)


def _end(directory: Path, request: requests.Request, limit: float) -> None:
    deadline = time.monotonic() + limit
    if state.is_held(directory):
        with contextlib.suppress(KeepError):
            requests.ask(directory, request, timeout=limit)
        _await_end(directory, deadline)


def _await_end(directory: Path, deadline: float) -> None:
    """Wait for the host process to let go; kill it when it has not by `deadline`, on the monotonic clock."""
    given_up = deadline + _GIVE_UP_AFTER
    while state.is_held(directory):
        now = time.monotonic()
        if now > given_up:
            raise KeepError(
                f"the host process of Keep {directory.name} does not end, nor when it is killed",
                hint=f"`fuser -v {directory / 'lock'}` names it; one that waits in the kernel, as for a disk that does "
                "not answer, ends when that does",
            )
        if now > deadline:
            if process := state.holder(directory):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            deadline = now + _KILL_AFTER
        time.sleep(0.02)
