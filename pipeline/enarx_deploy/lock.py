"""One run at a time in a project: two would write the same files and start two Keeps on one port."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from enarx_deploy.errors import EnarxDeployError

DEFAULT_WAIT = 600.0
"""Seconds."""
_LOOK_EVERY = 0.05  # seconds


@contextmanager
def locked(work_dir: Path, note: Callable[[str], None], wait: float = DEFAULT_WAIT) -> Iterator[None]:
    """Hold the project's lock, after at most `wait` seconds. It ends with the process, however that ends.

    Raises EnarxDeployError that names the process which has it.
    """
    with (work_dir / "lock").open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            if wait:
                note(f"another enarx-deploy (process {holder}) is at work in this project; waiting for it")
            _wait(file, holder, wait)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def _wait(file: BinaryIO, holder: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise EnarxDeployError(
                    f"another enarx-deploy (process {holder}) is at work in this project, and nothing was done",
                    hint=f"it was waited for {wait:g} seconds; --wait-lock SECONDS says how long",
                ) from None
            time.sleep(_LOOK_EVERY)
