"""The nil backend: a Keep that is a child process, with no hardware protection.

It is for trying and testing: whoever controls the machine can read and change everything in it, and everything that
comes from it says so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, Probe, ProbeCheck, ReferenceValues
from enarx_deploy.protocols import Backend, KeepProcess, Launch

_ISOLATION = ("-I", "-S", "-X", "frozen_modules=on")
"""No environment, no user site, no current directory in the path, and none of the `.pth` files that whatever else is
installed brings: what runs is what is installed, and no more."""
OUTPUT_LIMIT = 1 << 30
"""Largest file, in bytes, that a Keep writes to: its host's log, and that of compiled code."""
_PACKAGES = ("enarx_keep", "enarx_sallyport", "wasmtime")


class NilProcess:
    """The child process, which waits until it is told by `channel` what Keep it is, and ends where that is closed."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, stderr_fd: int) -> None:
        self.pid = process.pid
        self.stderr_fd = stderr_fd
        self._process = process
        self._channel = channel

    def become(self, launch: Launch) -> None:
        """Be the Keep of this block. A process that has ended already is told by its exit status."""
        place = {
            "cache": str(paths.cache_dir("modules")),
            "module": launch.module_sha256,
            "code_signers": launch.code_signers,  # nothing is measured here, so that the host may name them
        }
        with self._channel, contextlib.suppress(OSError):
            socket.send_fds(self._channel, [msgspec.json.encode(place)], [launch.block_fd, launch.doorbell_fd])

    def poll(self) -> int | None:
        """See `KeepProcess`."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """See `KeepProcess`."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    def kill(self) -> None:
        """See `KeepProcess`."""
        self._channel.close()
        self._process.kill()


class Nil:
    """A child process over a memfd."""

    name = "nil"
    aliases: tuple[str, ...] = ()
    hardware = False
    evidence = "nil"
    strength = 0
    program = "from enarx_keep.__main__ import main; main()"
    """What the interpreter runs: the Keep's own program."""
    _prepared: NilProcess | None = None

    def probe(self) -> Probe:
        """Needs memfd_create, which every Linux since 3.17 has, and seccomp filters for its jail."""
        memfd = hasattr(os, "memfd_create")
        seccomp = _has_seccomp()
        checks = [
            ProbeCheck(
                name="memfd",
                ok=memfd,
                detail="memfd_create is there" if memfd else "this system has no memfd_create",
                hint="" if memfd else "a Keep needs Linux",
            ),
            ProbeCheck(
                name="seccomp",
                ok=seccomp,
                detail="seccomp filters are there" if seccomp else "this kernel has no seccomp filters",
                hint="" if seccomp else "a Keep is jailed by them: use a kernel with CONFIG_SECCOMP_FILTER",
            ),
        ]
        return Probe(backend=self.name, available=memfd and seccomp, hardware=False, checks=checks)

    def measure(self, package: Package) -> ReferenceValues:
        """Nothing is measured; the package's digest is the Keep's own word."""
        return ReferenceValues(
            backend=self.name,
            hardware=False,
            package=package.digest,
            measurements={},
            policy={"nil": {"packages": [package.digest]}},
        )

    def prepare(self, stderr_fd: int) -> KeepProcess:
        """See `CanPrepare`: the interpreter and what it imports are nearly all that a start takes."""
        self._prepared = self._spawn(stderr_fd)
        return self._prepared

    def start(self, launch: Launch) -> KeepProcess:
        """Start the Keep's own program, with nothing but the block, the doorbell and a place for complaints."""
        process, self._prepared = self._prepared, None
        if process is None or process.stderr_fd != launch.stderr_fd or process.poll() is not None:
            process = self._spawn(launch.stderr_fd)
        process.become(launch)
        return process

    def _spawn(self, stderr_fd: int) -> NilProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = f"import sys; sys.path += {_search_path()}; {self.program}"
        command = [sys.executable, *_ISOLATION, "-c", program, str(theirs.fileno()), str(os.getpid())]
        with theirs:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stderr_fd,
                    stderr=stderr_fd,
                    pass_fds=(theirs.fileno(),),
                    env={},
                    cwd="/",
                    process_group=0,
                )
            except OSError as error:
                raise KeepError(
                    f"cannot start the Keep's process: {error.strerror}",
                    hint="is the machine short of memory or processes?",
                ) from error
        with contextlib.suppress(ProcessLookupError):  # it may have ended already, which is told by its status
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (OUTPUT_LIMIT, OUTPUT_LIMIT))
        return NilProcess(process, ours, stderr_fd)


def _has_seccomp() -> bool:
    """Whether a filter can stop a system call and have it reported."""
    try:
        return "trap" in Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError:
        return False


def _search_path() -> list[str]:
    """Where the packages are that a Keep imports."""
    found = map(importlib.util.find_spec, _PACKAGES)
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin))


@hookimpl
def register_backends() -> Iterable[Backend]:
    """The nil backend."""
    return [Nil()]
