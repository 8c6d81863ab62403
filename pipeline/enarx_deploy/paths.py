"""Where things are kept: state (deployments, the Steward's key) and cache (compiled modules, fetched packages).

Both are directories that only the user can reach: state holds private keys, and the cache holds native code that
runs in Keeps. `ENARX_DEPLOY_STATE_DIR` and `ENARX_DEPLOY_CACHE_DIR` override the platform's places.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path
from typing import Literal

from enarx_deploy.errors import UsageError
from enarx_files.whole import write_atomically

__all__ = ["cache_dir", "private_directory", "state_dir", "write_atomically"]

_APP = "enarx-deploy"
_ELSEWHERE = "name another place in ENARX_DEPLOY_STATE_DIR or ENARX_DEPLOY_CACHE_DIR"


def state_dir(*parts: str) -> Path:
    """The directory for state, or one below it; made if missing. Raises UsageError if others can write there."""
    root = os.environ.get("ENARX_DEPLOY_STATE_DIR") or _of_platform("state")
    return private_directory(Path(root).absolute(), *parts)


def cache_dir(*parts: str) -> Path:
    """The directory for caches, or one below it; made if missing. Raises UsageError if others can write there."""
    root = os.environ.get("ENARX_DEPLOY_CACHE_DIR") or _of_platform("cache")
    return private_directory(Path(root).absolute(), *parts)


def _of_platform(kind: Literal["state", "cache"]) -> str:
    import platformdirs  # which takes long, and comes when the Keep of a `run` has begun

    return platformdirs.user_state_dir(_APP) if kind == "state" else platformdirs.user_cache_dir(_APP)


def private_directory(root: Path, *parts: str) -> Path:
    """`root` and then each of `parts` below it, made with mode 0700 where missing, and checked where present."""
    _require_text(root)
    missing = list(itertools.takewhile(lambda place: not os.access(place, os.F_OK), root.parents))
    for path in reversed(missing):  # as the XDG Base Directory Specification has it, whatever the umask
        _make(path)
    path = root
    for step in ("", *parts):
        path = path / step if step else path
        _make(path)
        _require_private(path)
    return path


def _require_text(path: Path) -> None:
    """Records, which are JSON, have paths in them."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: the path is not UTF-8", hint=f"rename it, or {_ELSEWHERE}") from error


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        instead = isinstance(error, FileExistsError | NotADirectoryError)
        raise UsageError(
            f"{path}: {error.strerror}", hint=f"remove it, or {_ELSEWHERE}" if instead else _ELSEWHERE
        ) from error


def _require_private(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UsageError(
            f"{path}: not a directory of yours",
            hint=f"remove it, or {_ELSEWHERE}",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{path}: others can write to it", hint=f"chmod go-w {path}")
