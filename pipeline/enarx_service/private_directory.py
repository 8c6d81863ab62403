"""The directory of a service: for its user alone, since keys and databases are in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import ConfigurationError


def prepare(directory: Path, option: str) -> None:
    """Make the directory with mode 0700, or check it. Raises `ConfigurationError` if others can enter it.

    `option` is the one of the command line that names another, such as `--state`.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}", hint=f"name another with {option} DIR") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise ConfigurationError(f"{directory}: not a directory of yours", hint=f"name another with {option} DIR")
    if status.st_mode & 0o077:
        raise ConfigurationError(f"{directory}: others can enter it", hint=f"chmod 700 {directory}")
