"""One run at a time in a project: two would write the same files and start two Keeps on one port."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from enarx_deploy.errors import EnarxDeployError
from enarx_files import turns

DEFAULT_WAIT = 600.0
"""Seconds."""


@contextmanager
def locked(work_dir: Path, note: Callable[[str], None], wait: float = DEFAULT_WAIT) -> Iterator[None]:
    """Hold the project's lock, after at most `wait` seconds. It ends with the process, however that ends.

    Raises EnarxDeployError that names the process which has it.
    """
    with (work_dir / "lock").open("a+b") as file:
        if not turns.take(file.fileno(), 0):
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            if wait:
                note(f"another enarx-deploy (process {holder}) is at work in this project; waiting for it")
            _wait(file.fileno(), holder, wait)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def _wait(descriptor: int, holder: str, wait: float) -> None:
    if not turns.take(descriptor, wait):
        raise EnarxDeployError(
            f"another enarx-deploy (process {holder}) is at work in this project, and nothing was done",
            hint=f"it was waited for {wait:g} seconds; --wait-lock SECONDS says how long",
        )
