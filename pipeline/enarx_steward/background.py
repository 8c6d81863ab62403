"""The Steward that a user's machine keeps running by itself: found, started once, stopped.

Nothing here needs the process that started it: the state directory says whether a Steward serves from it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enarx_files.turns import take

from . import state
from .errors import ConfigurationError
from .record import Running, find

START_SECONDS: Final = 60
STOP_SECONDS: Final = 10
KILLED_SECONDS: Final = 60
"""The end of one that was killed, which nothing holds up but a machine that has much else to do."""
RELOAD_SECONDS: Final = 60
MAX_LOG: Final = 1 << 20
"""Bytes beyond which the log is put aside (one old one is kept) when a Steward starts."""

_START_LOCK: Final = "start.lock"
_ENVIRONMENT: Final = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONWARNINGS",
    "TMPDIR", "TZ", "VIRTUAL_ENV",
)  # fmt: skip
"""What a process that outlives a session is given of its environment, where tokens may be that it has no use for."""


def ensure(directory: Path) -> Running:
    """The Steward of a directory; started in the background if there is none. Its policy is written on first use.

    Two that ask at the same time get the same one. Raises `ConfigurationError` with what a failed start said.
    """
    state.prepare(directory)
    with _only_one(directory):
        running = find(directory)
        if running is None:
            _start(directory)
            running = find(directory)
    if running is None:
        raise ConfigurationError("the Steward ended as soon as it had started", hint=f"see {directory / state.LOG}")
    return running


def stop(directory: Path) -> Running | None:
    """End the Steward of a directory: ask, wait, then kill. Returns the one that was ended, or None."""
    running = find(directory) if directory.is_dir() else None
    if running is None:
        return None
    with contextlib.suppress(ProcessLookupError), _process(running.pid) as process:
        # Looked up again under the handle: from here on, the id cannot pass to another process.
        if _still(directory, running):
            for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILLED_SECONDS)):
                signal.pidfd_send_signal(process, number)
                if select.select([process], [], [], patience)[0]:
                    break
    if _still(directory, running):
        raise ConfigurationError(
            f"the Steward, process {running.pid}, does not end",
            hint=f"kill -KILL {running.pid}: its log and its keys are on disk",
        )
    return running


def reload(directory: Path) -> Running | None:
    """Have the Steward of a directory read its policy again, and wait until it did. None if there is none.

    Raises `ConfigurationError` with what it says if it goes on under the old policy.
    """
    running = find(directory) if directory.is_dir() else None
    if running is None:
        return None
    with contextlib.suppress(ProcessLookupError), _process(running.pid) as process:
        if _still(directory, running):
            signal.pidfd_send_signal(process, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_SECONDS
    while (now := find(directory)) is not None and now.pid == running.pid and now.reloads == running.reloads:
        if time.monotonic() > deadline:
            raise ConfigurationError("the Steward does not say that it read its policy", hint="see its log")
        time.sleep(0.02)
    if now is None or now.pid != running.pid:
        raise ConfigurationError("the Steward ended when it was to read its policy", hint="see its log")
    if now.fault:
        raise ConfigurationError(now.fault, hint="the policy that was in force still is")
    return now


def detach(log: Path) -> int:
    """Go on in a new process, in the background; the old one ends when the new one writes to the returned descriptor.

    Output goes to `log`, input is empty, the working directory is let go of. Call it before any thread is started.
    """
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(told, 1) else 1)
    os.close(told)
    os.chdir("/")
    _redirect(log)
    return tell


def _start(directory: Path) -> None:
    words = [sys.executable, "-P", "-m", "enarx_steward", "--state", str(directory), "--own-policy", "--detach"]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=START_SECONDS,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,  # a Ctrl-C meant for whoever asked must not reach it
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConfigurationError(
            f"the Steward did not start within {START_SECONDS} seconds", hint=f"see {directory / state.LOG}"
        ) from exc
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise ConfigurationError(f"the Steward did not start: {said[0]}", hint=" ".join(said[1:2]).strip())


def _still(directory: Path, running: Running) -> bool:
    now = find(directory)
    return now is not None and now.pid == running.pid


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    with (directory / _START_LOCK).open("ab") as file:
        if not take(file.fileno(), 2 * START_SECONDS):
            raise ConfigurationError(
                "another process is starting the Steward and does not get on", hint="end it, and try again"
            )
        yield


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _redirect(log: Path) -> None:
    if log.exists() and log.stat().st_size > MAX_LOG:
        log.replace(log.with_suffix(".log.1"))
    sys.stdout.flush()
    sys.stderr.flush()
    for name, flags, descriptors in (
        (os.devnull, os.O_RDONLY, (0,)),
        (str(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, (1, 2)),
    ):
        opened = os.open(name, flags, 0o600)
        for descriptor in descriptors:
            os.dup2(opened, descriptor)
        os.close(opened)
