"""One run at a time in a project: two would write the same files and start two Keeps on one port."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(work_dir: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Hold the project's lock, waiting for whoever has it. It ends with the process, however that ends."""
    with (work_dir / "lock").open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            note(f"another enarx-deploy (process {holder}) is at work in this project; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield
