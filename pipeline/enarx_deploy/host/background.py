"""Start the processes that look after Keeps and deployments, each in a session of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

from enarx_deploy.errors import KeepError
from enarx_deploy.host import log_files
from enarx_deploy.tools import environment_without_secrets

START_LIMIT = 1800.0
"""Seconds that a start may take: a large module is compiled for every Keep at once."""
_SHORT_OF = "the machine is short of memory, processes or descriptors"
_LARGE = 1 << 20  # bytes of a log that is put aside before a process writes to it
_LAST_WORDS = 4096  # bytes of a log that are looked at


def start(kind: Literal["keep", "service"], place: Path, log_name: str) -> subprocess.Popen[bytes]:
    """Start what looks after the Keep or the deployment in `place`; returns when it says that it is up.

    Raises KeepError, also where it says nothing for START_LIMIT seconds.
    """
    try:
        with _Report() as report, os.fdopen(_open_log(place / log_name), "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "enarx_deploy.host", kind, str(place), str(report.told)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(report.told,),
                cwd=place,
                env=environment_without_secrets(),
                start_new_session=True,
            )
            message = report.read(kind, time.monotonic() + START_LIMIT)
    except OSError as error:
        raise KeepError(f"the {kind}'s process cannot be started: {error.strerror}", hint=_SHORT_OF) from error
    if "error" in message:
        process.kill()
        process.wait()
        raise KeepError(message["error"], hint=message.get("hint") or f"its last words: {_last_line(place / log_name)}")
    return process


class _Report:
    """A pipe for what a process that is started says of itself."""

    def __init__(self) -> None:
        self._source, self.told = os.pipe()

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._source)
        self._close_told()

    def _close_told(self) -> None:
        if self.told >= 0:
            os.close(self.told)
            self.told = -1

    def read(self, kind: str, until: float) -> dict[str, str]:
        """What it said by that moment of the monotonic clock, up to its end."""
        self._close_told()
        said = bytearray()
        looked = select.poll()
        looked.register(self._source, select.POLLIN)
        while looked.poll(max(0.0, until - time.monotonic()) * 1000):
            if not (piece := os.read(self._source, 65536)):
                found = msgspec.json.decode(said, type=dict[str, str]) if said else None
                return {"error": f"the {kind}'s process died while it started"} if found is None else found
            said += piece
        return {"error": f"the {kind}'s process did not start in {START_LIMIT:.0f} seconds"}


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
