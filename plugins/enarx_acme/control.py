"""Shows an ACME server that the user controls a name: by HTTP on the address that the user gave, or by a command that
changes DNS. What was put there is taken away in the end, whatever came of it.
"""

from __future__ import annotations

import atexit
import contextlib
import http.server
import ipaddress
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from enarx_deploy.errors import StewardError, UsageError

_REQUEST: Final = 10.0
"""Seconds that a client may take to send its request."""
_HOOK: Final = 300.0
"""Seconds that the command may take for all records of an order, until they can be seen."""
_CLEANUP: Final = 30.0
"""Seconds that it may take to take one away."""
_MOST_PORT: Final = 65535
_SHOWN: Final = 300
"""Most bytes of what it said that are shown."""
_ANOTHER: Final = "register again with another --dns-01"
PREFIX: Final = "/.well-known/acme-challenge/"


def parse_listen(text: str) -> tuple[str, int]:
    """An address and a port. Raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if 0 < int(port) <= _MOST_PORT:
            return host, int(port)
    except ValueError:
        pass
    raise UsageError(
        f"--http-01 {text!r} is not an address and a port",
        hint="such as 0.0.0.0:80, or 127.0.0.1:8402 behind a proxy that passes /.well-known/acme-challenge on",
    )


@contextlib.contextmanager
def by_http(listen: str, answers: Mapping[str, str]) -> Iterator[None]:
    """Answer http-01 (RFC 8555, section 8.3) while the context lasts: `answers` by token. Raises StewardError."""
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server_class = type("Server", (_Server,), {"address_family": family})
    handler = type("Handler", (_Handler,), {"answers": dict(answers)})
    try:
        server: http.server.ThreadingHTTPServer = server_class((host, port), handler)
    except OSError as error:
        raise StewardError(
            f"http-01 cannot be answered on {listen}: {error.strerror}",
            hint="is another program there? Register again with another --http-01, or with --dns-01",
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="http-01", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # who says nothing must not hold up the end


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: Mapping[str, str]
    timeout = _REQUEST
    server_version = "enarx-deploy"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a challenge that is open; there is nothing else here."""
        answer = self.answers.get(self.path.removeprefix(PREFIX)) if self.path.startswith(PREFIX) else None
        body = (answer or "no such challenge is open\n").encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: everybody on the network can ask."""


@contextlib.contextmanager
def by_dns(hook: Sequence[str], records: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Have the user's command put TXT records there for dns-01 (RFC 8555, section 8.4): `records` are name and value.

    It is run as COMMAND present NAME. VALUE and COMMAND cleanup NAME. VALUE, without a shell, and returns when the
    record can be seen. Raises StewardError.
    """
    until = time.monotonic() + _HOOK
    with contextlib.ExitStack() as stack:
        for name, value in records:
            stack.callback(_clean_up, hook, name, value)
            _run([*hook, "present", f"{name}.", value], until - time.monotonic())
        yield


def _clean_up(hook: Sequence[str], name: str, value: str) -> None:
    """A record that stays does no harm: what came of the order counts."""
    with contextlib.suppress(StewardError):
        _run([*hook, "cleanup", f"{name}.", value], _CLEANUP)


def _run(words: Sequence[str], seconds: float) -> None:
    """Run the command for so long. All that it started ends with it, and it ends with this process."""
    with tempfile.TemporaryFile() as output:  # a pipe is open as long as what the command started
        with _commands.begun(words, output) as command:
            try:
                status = command.wait(max(0.0, seconds))
            except subprocess.TimeoutExpired as error:
                raise StewardError(f"{words[0]}: it took too long, and was ended", hint=_ANOTHER) from error
        if status:
            raise StewardError(
                f"{words[0]} {words[-3]} ended with status {status}: {_last_line(output) or 'it said nothing'}",
                hint="it must put the record into DNS, and return when it can be seen there",
            )


class _Commands:
    """Those that run now. None outlives this process: its threads run on while it ends, and begin no other then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        atexit.register(self.end)

    @contextlib.contextmanager
    def begun(self, words: Sequence[str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """The command, until the context ends. Raises StewardError."""
        command = self._begin(words, output)
        try:
            yield command
        finally:
            _end(command)
            with self._lock:
                self._running.discard(command)

    def _begin(self, words: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise StewardError(f"{words[0]}: it is not begun, since this process ends", hint="")
            try:
                command = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise StewardError(f"{words[0]}: {error.strerror}", hint=_ANOTHER) from error
            self._running.add(command)
            return command

    def end(self) -> None:
        """End those that run. None begins from now on."""
        with self._lock:
            self._ended = True
            for command in self._running:
                _end(command)


_commands: Final = _Commands()


def _end(command: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)
    command.wait()


def _last_line(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _SHOWN))
    last = output.read().decode(errors="replace").strip().rpartition("\n")[2]
    return "".join(character if character.isprintable() else " " for character in last)[:_SHOWN]
