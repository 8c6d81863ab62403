"""Shows an ACME server that the user controls a name: by HTTP on the address that the user gave, or by a command that
changes DNS. What was put there is taken away in the end, whatever came of it.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from enarx_deploy.errors import StewardError, UsageError

_REQUEST: Final = 10.0
"""Seconds that a client may take to send its request."""
_HOOK: Final = 300.0
"""Seconds that the command may take, until the record can be seen."""
_MOST_PORT: Final = 65535
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
    with contextlib.ExitStack() as stack:
        for name, value in records:
            stack.callback(_clean_up, hook, name, value)
            _run([*hook, "present", f"{name}.", value])
        yield


def _clean_up(hook: Sequence[str], name: str, value: str) -> None:
    """A record that stays does no harm: what came of the order counts."""
    with contextlib.suppress(StewardError):
        _run([*hook, "cleanup", f"{name}.", value])


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HOOK,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it took more than {_HOOK:.0f} s"
        raise StewardError(f"{words[0]}: {reason}", hint="register again with another --dns-01") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        said = "".join(character if character.isprintable() else " " for character in last)[:300]
        raise StewardError(
            f"{words[0]} {words[-3]} ended with status {done.returncode}: {said or 'it said nothing'}",
            hint="it must put the record into DNS, and return when it can be seen there",
        )
