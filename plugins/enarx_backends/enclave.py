"""A Keep that is an enclave of Gramine's, as its host process holds it: a folder, a process and a channel.

The folder has the manifest, its signature, and all files that the manifest names. It is made for one Keep, where nobody
but this user can reach it, and goes with it; what a host process that was killed has left is removed by the next start.
Nothing in it is trusted by the enclave but what the measured manifest has a digest of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from enarx_backends.complaints import Complaints
from enarx_deploy.errors import KeepError
from enarx_deploy.protocols import Launch
from enarx_sallyport import Carrier

NAME = "keep"
MANIFEST = f"{NAME}.manifest.sgx"
SIGNATURE = f"{NAME}.sig"
"""Where Gramine looks for them (its manual, gramine-sgx-sign)."""
_LOCK = ".lock"


class Folder:
    """A folder with the files of one enclave, locked by whoever made it for as long as that process lives."""

    def __init__(self, place: Path, files: Mapping[str, bytes]) -> None:
        """Files below `root` can be started as programs, as some are. Raises KeepError, and leaves nothing then."""
        try:
            self.path, self._lock = _locked_folder(place)
        except OSError as error:
            raise KeepError(f"{place}: {error.strerror}", hint="is there room on that disk?") from error
        try:
            for path, content in files.items():
                self._write(path, content)
        except OSError as error:
            self.remove()
            raise KeepError(f"{self.path}: {error.strerror}", hint="is there room on that disk?") from error

    def remove(self) -> None:
        """It is not needed any more."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def _write(self, path: str, content: bytes) -> None:
        place = self.path / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = 0o700 if "/" in path else 0o600
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def _locked_folder(place: Path) -> tuple[Path, int]:
    """A new folder and its lock. Raises OSError."""
    while True:
        path = Path(tempfile.mkdtemp(prefix="enclave-", dir=place))
        with contextlib.suppress(FileNotFoundError):
            lock = _opened_lock(path)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:
                return path, lock
            os.close(lock)  # another start took it for abandoned before it was locked


def remove_abandoned(place: Path) -> None:
    """Remove the folders of processes that have ended without doing so."""
    for folder in place.glob("enclave-*"):
        with contextlib.suppress(OSError):
            lock = _opened_lock(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _opened_lock(folder: Path) -> int:
    """A file, since NFS shows the lock of a folder to its own machine alone. Raises OSError."""
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
    finally:
        os.close(place)


class Started(NamedTuple):
    """What an enclave is started from: the program, its folder, and the digest of the image whose files it has."""

    program: str
    folder: Folder
    image: str


class EnclaveProcess:
    """A process with an enclave. See `KeepProcess` and `OwnMachine`: Gramine has a clock of its own.

    The sallyport goes over its standard input and output. It ends when this process does, since its input ends then.
    """

    compiled = b""

    def __init__(self, started: Started, launch: Launch) -> None:
        """Start it. Raises KeepError; the folder is gone then."""
        self.image = started.image
        self._folder = started.folder
        self._complaints = Complaints(launch.stderr_fd)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                self._process = _spawn(started, theirs.fileno(), self._complaints.theirs)
            except OSError as error:
                self._complaints.abandon()
                self._folder.remove()
                raise KeepError(
                    f"cannot start {started.program}: {error.strerror}",
                    hint="`enarx-deploy platform sgx` shows what a machine needs for it",
                ) from error
            self.pid = self._process.pid
            self._complaints.begin()
            theirs.close()
            try:
                self._carrier = Carrier.beside_host(launch.block_fd, launch.doorbell_fd, ours.fileno())
            except (OSError, RuntimeError) as error:
                self.kill()
                self._end()
                raise KeepError(
                    f"the sallyport cannot be carried to the enclave: {error}",
                    hint="is the machine short of memory, threads or descriptors?",
                ) from error

    def poll(self) -> int | None:
        """See `KeepProcess`."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """See `KeepProcess`. What the Keep published last has come through by then, and its folder is gone."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        self._carrier.wait()
        return self._end()

    def kill(self) -> None:
        """See `KeepProcess`."""
        self._process.kill()

    def explanation(self) -> str:
        """See `OwnMachine`."""
        if self._carrier.fault:
            return self._carrier.fault
        status = self._process.poll() or 0
        ended = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"the enclave's process ended {ended}: {self._complaints.last_lines or 'it said nothing'}"

    def _end(self) -> int:
        status = self._process.wait()
        self._complaints.end()
        self._folder.remove()
        return status


def _spawn(started: Started, channel: int, complaints: int) -> subprocess.Popen[bytes]:
    """With nothing of this process's environment: what the script needs is the system's programs."""
    return subprocess.Popen(
        [started.program, NAME],
        stdin=channel,
        stdout=channel,
        stderr=complaints,
        env={"PATH": os.defpath},
        cwd=started.folder.path,
        process_group=0,
    )
