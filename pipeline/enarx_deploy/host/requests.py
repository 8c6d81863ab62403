"""Requests to a Keep's host process: one JSON object per connection of a Unix socket in the Keep's directory.

    {"do": "certify", "nonce": base64, "audience": text}           -> {"csr", "kind", "evidence", "endorsements",
                                                                       "signatures"}
    {"do": "install", "chain": [...], "root": ..., "not_before": t, "not_after": t} -> {}
    {"do": "renew"}                                                -> {}    when the new certificate is in use
    {"do": "stop", "grace": seconds}                               -> {}    when the Keep has ended
    {"do": "usage"}                                                -> models.Usage
    {"do": "counters"}                                             -> {"accepted": ..., "open": ..., ...}

An answer that is `{"error": text, "hint": text}` is a KeepError at the caller, and with `"refused": true` a
VerificationRefused. The directory is the user's alone, and so is the socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enarx_deploy.errors import KeepError, VerificationRefused

SOCKET = "control.sock"
_LIMIT = 1 << 20
_TIMEOUT = 120.0

Request = dict[str, Any]


def bind(directory: Path) -> socket.socket:
    """The listening socket of a host process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(directory) as place, contextlib.suppress(FileNotFoundError):
        Path(place).unlink()
    with _short(directory) as place:
        listener.bind(place)
    (directory / SOCKET).chmod(0o600)
    listener.listen(16)
    return listener


def ask(directory: Path, request: Request, timeout: float = _TIMEOUT) -> Request:
    """Send a request and wait for its answer. Raises KeepError, VerificationRefused."""
    gone = KeepError("the Keep's host process does not answer", hint="`enarx-deploy keeps` shows what became of it")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short(directory) as place:
            connection.settimeout(timeout)
            connection.connect(place)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = receive(connection)
    except (OSError, ValueError) as error:
        raise gone from error
    if "error" in answer:
        kind = VerificationRefused if answer.get("refused") is True else KeepError
        raise kind(answer["error"], hint=answer.get("hint", ""))
    return answer


def receive(connection: socket.socket) -> Request:
    """One JSON object, up to the end of the stream. Raises ValueError."""
    data = bytearray()
    while piece := connection.recv(65536):
        data += piece
        if len(data) > _LIMIT:
            raise ValueError("too long")
    message = json.loads(bytes(data))
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A path to the socket that fits into a socket address, which has room for 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
