"""What is kept on disk of each Keep of this machine, and whether its host process lives.

    STATE/keeps/ID/spec.json      what to run, written before the host process starts
    STATE/keeps/ID/state.json     a KeepStatus, replaced atomically by the host process
    STATE/keeps/ID/lock           held locked by the host process as long as it lives
    STATE/keeps/ID/control.sock   where the host process takes requests
    STATE/keeps/ID/root.der       the root of its certificates
    STATE/keeps/ID/*.log          stdout and stderr of the workload, and what the host process says

A host process that has gone without saying so still has `running` in its state; that its lock is free tells. A Keep
that is to be started again has `restarting`, which its service process writes, and no host process.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import KeepError
from enarx_deploy.models import ALIVE, KeepStatus, PackageSource, Record

LOGS = {"stdout": "stdout.log", "stderr": "stderr.log", "host": "host.log"}


class Looks(Record, frozen=True):
    """How a Keep that serves is looked at: every `interval` seconds (0: never), each socket for at most `timeout`
    seconds. One that failed `threshold` looks in a row is replaced."""

    interval: int = 10
    timeout: int = 10
    threshold: int = 3


class KeepSpec(Record, frozen=True):
    """What a host process is to run: a package, on a backend, with this name."""

    id: str
    name: str
    target: str
    backend: str
    package: str
    package_root: str
    created: str
    metrics: str = ""
    source: PackageSource | None = None
    """From where the Keep fetches its package; `package_root` is "" then."""
    manifest: str = ""
    """What is known of the manifest then: who issues certificates."""
    service: str = ""
    """The directory of the deployment whose service process holds its listening sockets, below `services`."""
    version: int = 0
    log_size: int = 8 << 20
    """Bytes after which a log is put aside."""
    healthy_within: int = 20
    """Seconds that each of its sockets has to be served, before clients are let in."""
    certified_within: int = 600
    """Seconds that it has to get its certificate, and perhaps its package."""
    looks: Looks = Looks()
    image: str = ""
    """The directory of the image that the Keep boots, where one was named."""
    memory: int = 0
    cpu: float = 0
    """Bytes and processors that the kernel holds the Keep and its host process to; 0 is no limit."""


def service_identity(name: str) -> str:
    """The name of a deployment's directory: what can be said of its name in a file's name, and a digest of it."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:40]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def now() -> str:
    """The time as it is written down of Keeps and deployments: RFC 3339, in UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def keeps_dir() -> Path:
    """Where the Keeps' directories are."""
    return paths.state_dir("keeps")


def keep_dir(keep: str) -> Path:
    """The directory of a Keep."""
    return keeps_dir() / keep


def write_spec(directory: Path, spec: KeepSpec) -> None:
    """Write what is to be run."""
    paths.write_atomically(directory / "spec.json", msgspec.json.encode(spec))


def read_spec(directory: Path) -> KeepSpec:
    """What is to be run."""
    return msgspec.json.decode((directory / "spec.json").read_bytes(), type=KeepSpec)


def write_status(directory: Path, status: KeepStatus) -> None:
    """Replace what is known of a Keep."""
    paths.write_atomically(directory / "state.json", msgspec.json.encode(status))


def read_status(directory: Path) -> KeepStatus | None:
    """What is known of a Keep, with `crashed` where its host process has gone; None if there is none."""
    try:
        status = msgspec.json.decode((directory / "state.json").read_bytes(), type=KeepStatus)
    except (OSError, msgspec.DecodeError):
        return None
    if status.state not in ALIVE or is_held(directory):
        return status
    if status.state == "restarting" and _is_served(directory):
        return status
    reason = "its host process has gone without a word: killed, or the machine was restarted"
    return msgspec.structs.replace(status, state="crashed", pid=0, reason=reason)


def _is_served(directory: Path) -> bool:
    """Whether the service process that would start it again lives."""
    try:
        service = read_spec(directory).service
    except (OSError, msgspec.DecodeError):
        return False
    return bool(service) and is_held(paths.state_dir("services", service))


def new_keep(spec: KeepSpec) -> Path:
    """A directory for a Keep that is to run `spec`. Raises KeepError."""
    directory = paths.state_dir("keeps", spec.id)
    try:
        write_spec(directory, spec)
    except OSError as error:
        raise KeepError(f"{directory} cannot be written to: {error.strerror}", hint="is the disk full?") from error
    return directory


def all_status() -> Iterator[KeepStatus]:
    """What is known of every Keep, oldest first."""
    found = (read_status(directory) for directory in keeps_dir().iterdir() if directory.is_dir())
    yield from sorted((status for status in found if status), key=lambda status: (status.created, status.id))


def held_keeps(service: str) -> Iterator[KeepSpec]:
    """The Keeps of a deployment, by the name of its directory, whose host processes live."""
    for directory in keeps_dir().iterdir():
        with contextlib.suppress(OSError, msgspec.DecodeError):  # not whole, or removed just now
            if (spec := read_spec(directory)).service == service and is_held(directory):
                yield spec


def hold(directory: Path) -> int:
    """Lock a Keep's directory for this process's life. Raises BlockingIOError if another holds it."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def await_free(directory: Path) -> None:
    """Wait until nobody holds the directory. Raises OSError where it is gone."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_held(directory: Path) -> bool:
    """Whether a host process holds the directory."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(directory: Path) -> int:
    """The process that holds the directory, as the kernel tells; 0 where it does not.

    What is written down of a Keep is not asked: it may be of the process before, and its number another's by now.
    """
    with contextlib.suppress(OSError):
        lock = (directory / "lock").stat()
        for name in glob.iglob("/proc/[0-9]*/fd/*"):  # noqa: PTH207 - `Path.glob` raises where a process ends meanwhile
            descriptor = Path(name)
            with contextlib.suppress(OSError):  # others' processes, and those that end meanwhile
                if descriptor.readlink().name == "lock" and os.path.samestat(descriptor.stat(), lock):
                    process = descriptor.parents[1]
                    if "FLOCK" in (process / "fdinfo" / descriptor.name).read_text():
                        return int(process.name)
    return 0
