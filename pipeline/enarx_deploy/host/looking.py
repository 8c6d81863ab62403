"""Look at a Keep again and again while it serves: by its host process, which may itself not answer any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from enarx_deploy.errors import EnarxDeployError
from enarx_deploy.host import requests, state

_ANSWERS_WITHIN = 5.0  # seconds that a host process has beside those of its sockets, to say what a look found


def until_unhealthy(
    directory: Path,
    looks: state.Looks,
    ended: threading.Event,
    serves: Callable[[], bool],
    say: Callable[[str], None],
) -> str:
    """Look at the Keep of a directory until it has ended, or has failed as many looks in a row as it may.

    Answers why it failed them, and "" where it has ended. It is looked at only while `serves()`.
    """
    failed = 0
    while looks.interval and not ended.wait(looks.interval):
        if not serves():
            continue
        why = _failure(directory, looks.timeout)
        if not why or not state.is_held(directory):
            failed = 0
            continue
        failed += 1
        say(f"Keep {directory.name} failed look {failed} of {looks.threshold} at its health: {why}")
        if failed >= looks.threshold:
            return f"it failed {failed} looks at its health in a row: {why}"
    return ""


def _failure(directory: Path, timeout: int) -> str:
    """What a look found wrong; "" for nothing."""
    status = state.read_status(directory)
    sockets = sum(one.prot == "tls" for one in status.endpoints) if status else 0
    limit = timeout * max(1, sockets) + _ANSWERS_WITHIN
    try:
        requests.ask(directory, {"do": "check", "where": "again", "within": timeout}, limit)
    except EnarxDeployError as error:
        return str(error)
    return ""
