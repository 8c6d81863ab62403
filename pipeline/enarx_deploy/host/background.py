"""Start the processes that look after Keeps and deployments, each in a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

from enarx_deploy.errors import KeepError
from enarx_deploy.host import log_files

_LARGE = 1 << 20  # bytes of a log that is put aside before a process writes to it
_LAST_WORDS = 4096  # bytes of a log that are looked at


def start(kind: Literal["keep", "service"], place: Path, log_name: str) -> subprocess.Popen[bytes]:
    """Start what looks after the Keep or the deployment in `place`; returns when it says that it is up.

    Raises KeepError.
    """
    ready, told = os.pipe()
    log_fd = _open_log(place / log_name)
    with os.fdopen(log_fd, "ab") as log, os.fdopen(ready, "rb") as answer:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "enarx_deploy.host", kind, str(place), str(told)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(told,),
                cwd=place,
                start_new_session=True,
            )
        finally:
            os.close(told)
        said = answer.read()
    message = msgspec.json.decode(said) if said else {"error": f"the {kind}'s process died while it started"}
    if "error" in message:
        process.wait()
        raise KeepError(message["error"], hint=message.get("hint") or f"its last words: {_last_line(place / log_name)}")
    return process


def _open_log(path: Path) -> int:
    """The log's descriptor, the log before put aside where it is large. Where that cannot be, nothing is logged."""
    try:
        if path.exists() and path.stat().st_size > _LARGE:
            log_files.put_aside(path)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_WORDS))
            return file.read().decode(errors="replace").strip().rpartition("\n")[2]
    except OSError as error:
        return f"(not known: {error})"


def report(ready_fd: int, message: dict[str, str]) -> None:
    """Say to `start`, by the descriptor that it gave, that we are up (an empty message), or the error and its hint."""
    with os.fdopen(ready_fd, "w") as ready:
        ready.write(msgspec.json.encode(message).decode())
