"""A Keep for a test: its host's part in this process, its standard output in a pipe."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.protocols import Backend
from enarx_deploy.testing.programs import Name, packaged

_LOOK_EVERY = 0.05  # seconds
_KILLED_HOST = """
import os, pickle, signal, sys
from pathlib import Path
from enarx_deploy.testing.keep import started
with started(pickle.load(sys.stdin.buffer), "wait", Path(sys.argv[1]), 0) as keep:
    print(keep.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Keep:
    """A Keep that was started. `patience` is how many seconds it may take to end."""

    def __init__(self, session: Session, output: int, patience: float, before: frozenset[int] = frozenset()) -> None:
        self._session = session
        self._before = before
        self._output = output
        self._patience = patience
        self.pid = session.keep_pid
        """The process that the backend started."""

    def written(self) -> bytes:
        """All of its standard output, to its end."""
        said = b""
        while piece := os.read(self._output, 1 << 16):
            said += piece
        return said

    def ends(self) -> Outcome:
        """How it ended. Raises AssertionError where it does not."""
        told: list[Outcome] = []
        waiting = threading.Thread(target=lambda: told.append(self._session.wait()), daemon=True)
        waiting.start()
        waiting.join(self._patience)
        assert told, f"the Keep did not end in {self._patience:.0f} seconds"
        return told[0]

    def kill(self) -> None:
        """End it as its host does."""
        self._session.kill()

    def is_killed_from_outside(self) -> None:
        """End its process without its host."""
        os.kill(self.pid, signal.SIGKILL)

    def is_gone(self) -> bool:
        """Whether its process ends within its patience, and whatever else was started with it."""
        return _comes_true(lambda: not _lives(self.pid) and _children() <= self._before, self._patience)


@contextlib.contextmanager
def started(backend: Backend, name: Name, folder: Path, patience: float) -> Iterator[Keep]:
    """A Keep that runs one of the programs; it is ended with the context. Raises KeepError."""
    package, manifest = packaged(name, folder)
    before = _children()
    with contextlib.ExitStack() as stack:
        nothing = stack.enter_context(Path(os.devnull).open("r+b")).fileno()
        output, keeps_end = os.pipe()
        stack.callback(os.close, output)
        try:
            stdio = Stdio(stdin=nothing, stdout=keeps_end, stderr=nothing, complaints=2)
            session = Session(package, manifest, backend, stdio)
            stack.callback(session.kill)
            session.start()
        finally:
            os.close(keeps_end)
        yield Keep(session, output, patience, before)


def outlives_its_host(backend: Backend, folder: Path, patience: float) -> bool:
    """Whether a Keep goes on when its host's process was killed. Raises PicklingError, AttributeError or
    TypeError where the backend cannot be given to another process."""
    content = pickle.dumps(backend)
    command = [sys.executable, "-c", _KILLED_HOST, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.write(content)
        host.stdin.close()
        told = host.stdout.readline()  # and not all of it: a Keep that goes on may have its end
    assert told, "the Keep did not start in another process"
    return not _comes_true(lambda: not _lives(int(told)), patience)


def _comes_true(condition: Callable[[], bool], patience: float) -> bool:
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_EVERY)
    return True


def _children() -> frozenset[int]:
    """The processes that this one has started and that live."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(place.parent.name))
    return frozenset(found)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # one that ended and was not waited for
