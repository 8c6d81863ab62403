"""OpenSSH's own client, so that a user's keys, agents, jump hosts, known hosts and configuration count as always.

What is run there is `enarx-deploy`, whose answers are JSON. The other machine is trusted with no more than its own
Keeps: what it sends is bounded, read in the form that is expected, and shown without what a terminal would obey.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from enarx_deploy import errors
from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.protocols import Progress, silent

T = TypeVar("T")

CONNECT_TIMEOUT = 15
"""Seconds."""
AT_ONCE = 60.0
"""Seconds for what a machine can say without doing anything."""
_ANSWER_LIMIT = 64 << 20  # bytes
_LINE_LIMIT = 500  # characters
_LINES_KEPT = 20
_CHUNK = 1 << 16
_LOOK_EVERY = 100  # milliseconds
_SHORT = "/tmp"  # noqa: S108  # for a directory of mode 0700: what TMPDIR names may be too long for a socket in it
_OF_SSH = 255  # exit status of the client itself
_NOT_FOUND = (126, 127)  # of the shell there
_NOTHING_LENT = ("-a", "-x", "-o", "ClearAllForwardings=yes")
_LIVE = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")

_HINTS = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "ask who runs it why its key is another; `ssh-keygen -R` forgets the old",
    "Host key verification failed": "compare its key's fingerprint with one that you trust, and connect once by ssh",
    "Permission denied": "is your public key in authorized_keys there, and the private one known to ssh here?",
    "Too many authentication failures": "name one key in your ssh configuration: IdentityFile, and IdentitiesOnly yes",
    "Could not resolve hostname": "is `host` of the environment spelled right?",
    "Connection refused": "is sshd running there, on that port?",
    "timed out": "is the machine up, and does a firewall let you through?",
    "No route to host": "is the machine up, and does a firewall let you through?",
    "Bad owner or permissions": "ssh reads its files only where nobody else can write to them",
}
"""What to do, by what ssh says; the first that fits."""
_LOST = "what had begun there may have gone on: `enarx-deploy keeps` says, and the same command can be given again"


class Place(msgspec.Struct, frozen=True, order=True):
    """A machine that Keeps are started on: `host` as ssh takes it, its configuration's file, and the program there."""

    host: str
    config: str = ""
    program: str = "enarx-deploy"


class Client:
    """Runs `enarx-deploy` on one machine; connections of one process share one, which ends with it."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def ask(
        self,
        words: Sequence[str],
        form: type[T],
        *,
        tell: Progress = silent,
        send: Callable[[IO[bytes]], None] | None = None,
        under: Sequence[str] = (),
        within: float | None = None,
    ) -> T:
        """Run a command there with `--json`, and read its answer. `under` are words that start the program there.

        Each line that it says is told; `send` writes what it reads from its standard input; `within` is how many
        seconds it may take. Raises what the command there reports, or KeepError.
        """
        status, out, said = self._run([*under, self.place.program, *words, "--json"], tell, send, within)
        if status == 0:
            return self._decoded(out, form)
        raise self._failure(status, out, said)

    def version(self) -> str:
        """What the program there says of its version. Raises KeepError."""
        status, out, said = self._run([self.place.program, "--version"], silent, None, AT_ONCE)
        if status:
            raise self._failure(status, b"", said)
        return _plain(out.decode(errors="replace").strip())

    def holds(self, script: str) -> bool:
        """Whether a line of shell ends well there. Raises KeepError where ssh does not get that far."""
        status, _, said = self._run(["sh", "-c", script], silent, None, AT_ONCE)
        if status == _OF_SSH:
            raise self._failure(status, b"", said)
        return status == 0

    def stream(self, words: Sequence[str], within: float | None = None) -> Iterator[bytes]:
        """What a command there writes within so many seconds, in pieces as they come. Raises KeepError."""
        with (
            self._start([self.place.program, *words], stdin=subprocess.DEVNULL) as process,
            _Watch(process, within) as watch,
        ):
            said = watch.listen(_pipe(process.stderr), silent)
            yield from watch.pieces(_pipe(process.stdout))
            status = process.wait()
            if watch.late:
                raise self._too_late(within)
            if status:
                raise self._failure(status, b"", said.lines())

    def address(self) -> str:
        """The name or address that ssh makes of `host`, without asking the machine."""
        found = subprocess.run(
            ["ssh", "-G", *self._config(), "--", self.place.host], capture_output=True, text=True, check=False
        )
        names = [line.partition(" ")[2] for line in found.stdout.splitlines() if line.startswith("hostname ")]
        return names[0] if names else self.place.host

    def _run(
        self,
        words: Sequence[str],
        tell: Progress,
        send: Callable[[IO[bytes]], None] | None,
        within: float | None,
    ) -> tuple[int, bytes, list[str]]:
        stdin = subprocess.DEVNULL if send is None else subprocess.PIPE
        with self._start(words, stdin=stdin) as process, _Watch(process, within) as watch:
            said = watch.listen(_pipe(process.stderr), tell)
            sender = threading.Thread(target=_send, args=(process.stdin, send), daemon=True)
            sender.start()
            out = bytearray()
            for piece in watch.pieces(_pipe(process.stdout)):
                out += piece
                if len(out) > _ANSWER_LIMIT:
                    raise KeepError(
                        f"{self.place.host} answered with more than {_ANSWER_LIMIT:,} bytes", hint="log in there"
                    )
            status = process.wait()
            if watch.late:
                raise self._too_late(within)
            sender.join()
            return status, bytes(out), said.lines()

    def _start(self, words: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
        # A shell that is no login shell finds nothing in ~/.local/bin, where pipx and uv put programs.
        script = f'PATH="$HOME/.local/bin:$PATH"; export PATH; exec {shlex.join(words)}'
        command = ["ssh", *self._config(), *_options(), "-T", "--", self.place.host, shlex.join(["sh", "-c", script])]
        try:
            return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError as error:
            raise KeepError("there is no ssh on this machine", hint="apt-get install openssh-client") from error

    def _config(self) -> tuple[str, ...]:
        return ("-F", self.place.config) if self.place.config else ()

    def _too_late(self, within: float | None) -> KeepError:
        return KeepError(f"{self.place.host} did not answer within {within:.0f} s", hint="log in there, and look")

    def _decoded(self, out: bytes, form: type[T]) -> T:
        try:
            return msgspec.json.decode(out, type=form)
        except (msgspec.DecodeError, ValueError) as error:
            raise KeepError(
                f"{self.place.host} did not answer as enarx-deploy does: {_plain(str(error))}",
                hint="does the shell there print something by itself, or is its enarx-deploy another one?",
            ) from error

    def _failure(self, status: int, out: bytes, said: list[str]) -> EnarxDeployError:
        """What went wrong: there, on the way, or with ssh."""
        host, last = self.place.host, said[-1] if said else ""
        if reported := _reported(out):
            kind = _KINDS.get(str(reported.get("kind")), KeepError)
            return kind(f"{host}: {_plain(str(reported.get('message')))}", hint=_plain(str(reported.get("hint", ""))))
        if status in _NOT_FOUND:
            return KeepError(
                f"{host} has no {self.place.program} that can be run{f': {last}' if last else ''}",
                hint="install it there, such as by `pipx install enarx-deploy`, or say where it is: "
                "`program` in [deploy.NAME.ssh]",
            )
        if status in (_OF_SSH, -13):
            for words, hint in _HINTS.items():
                if any(words in line for line in said):
                    what = next(line for line in reversed(said) if words in line)
                    return KeepError(f"ssh to {host}: {what}", hint=hint)
            return KeepError(f"the connection to {host} was lost{f': {last}' if last else ''}", hint=_LOST)
        return KeepError(f"{host}: {last or f'ended with {status} and said nothing'}", hint=_LOST)


_KINDS: Mapping[str, Callable[..., EnarxDeployError]] = {
    kind.__name__: kind
    for kind in (
        errors.UsageError,
        errors.VerificationRefused,
        errors.PackageError,
        errors.NotPublished,
        errors.KeepError,
        errors.StewardError,
        errors.EnarxDeployError,
    )
}


def _reported(out: bytes) -> dict[str, Any] | None:
    """The error that the program there answered with."""
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(out, type=dict[str, dict[str, Any]]).get("error")
    return None


class _Watch:
    """One process of ssh: how long it may take, and what comes from it.

    The connection that processes share holds their pipes as well, until the command there has ended. Whoever read one
    to its end would wait for that, and so for a machine that goes on and on: reading ends with the watch.
    """

    def __init__(self, process: subprocess.Popen[bytes], seconds: float | None) -> None:
        self.late = False
        self._process = process
        self._over = threading.Event()
        self._listeners: list[_Listener] = []
        self._timer = threading.Timer(seconds or 0.0, self._end_late)
        self._timer.daemon = True
        if seconds is not None:
            self._timer.start()

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        self._over.set()
        if fault is not None:
            self._process.kill()
        for listener in self._listeners:
            listener.lines()

    def _end_late(self) -> None:
        self.late = True
        self._over.set()
        self._process.kill()

    def pieces(self, stream: IO[bytes]) -> Iterator[bytes]:
        """What comes through a pipe, until it ends or this does."""
        ready = select.poll()
        ready.register(stream, select.POLLIN)
        while not self._over.is_set():
            if not ready.poll(_LOOK_EVERY):
                continue
            piece = os.read(stream.fileno(), _CHUNK)
            if not piece:
                return
            yield piece

    def listen(self, stream: IO[bytes], tell: Progress) -> _Listener:
        """Take the lines of a pipe on a thread, and tell each."""
        self._listeners.append(_Listener(self.pieces(stream), tell))
        return self._listeners[-1]


class _Listener:
    """Takes lines until there are none, tells each, and keeps the last few."""

    def __init__(self, pieces: Iterator[bytes], tell: Progress) -> None:
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._listen, args=(pieces, tell), daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        self._thread.join()
        return self._lines

    def _listen(self, pieces: Iterator[bytes], tell: Progress) -> None:
        begun = b""
        for piece in pieces:
            *lines, begun = (begun + piece).split(b"\n")
            if len(begun) > _CHUNK:
                lines, begun = [*lines, begun], b""
            for line in lines:
                self._take(line, tell)
        self._take(begun, tell)

    def _take(self, line: bytes, tell: Progress) -> None:
        if words := _plain(line.decode(errors="replace").strip()):
            self._lines = [*self._lines[1 - _LINES_KEPT :], words]
            tell(words)


def _send(stream: IO[bytes] | None, send: Callable[[IO[bytes]], None] | None) -> None:
    if stream is None or send is None:
        return
    with contextlib.suppress(BrokenPipeError), stream:  # what ended there says why
        send(stream)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("started without a pipe")
    return stream


def _plain(text: str) -> str:
    """One line, without what a terminal would obey."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in line)[:_LINE_LIMIT]


def _options() -> tuple[str, ...]:
    """How every connection is made. Whether a host's key is good the user's own configuration says, and nobody here.

    Whatever that says of forwarding, the other machine gets no use of the user's agent, display or ports.
    """
    somebody = sys.stdin is not None and sys.stdin.isatty() and not os.environ.get("CI")
    asks = () if somebody else ("-o", "BatchMode=yes")
    return (*asks, *_NOTHING_LENT, "-o", f"ConnectTimeout={CONNECT_TIMEOUT}", *_LIVE, *_shared())


def _shared() -> tuple[str, ...]:
    """One connection for all that this process does; its socket's path must be short."""
    directory = _socket_directory()
    return ("-o", "ControlMaster=auto", "-o", f"ControlPath={directory}/%C", "-o", "ControlPersist=30")


_made: list[Path] = []


def _socket_directory() -> Path:
    if not _made:
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or _SHORT)
        _made.append(Path(tempfile.mkdtemp(prefix="ed-ssh.", dir=runtime if runtime.is_dir() else _SHORT)))
        atexit.register(_end_shared, _made[0])
    return _made[0]


def _end_shared(directory: Path) -> None:
    for socket in directory.iterdir():
        subprocess.run(
            ["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "--", "any"], capture_output=True, check=False
        )
    shutil.rmtree(directory, ignore_errors=True)
