"""Files that are there whole or not at all, for whoever reads them and after a crash."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash, meets either the old content or the new one, never a part.

    The temporary file is born with `mode`, so a secret is never readable by others, not even for a moment.
    """
    import tempfile  # which takes as long as all else here, for what most commands do not do

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def flush_directory(directory: Path) -> None:
    """Have what was renamed in a directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
