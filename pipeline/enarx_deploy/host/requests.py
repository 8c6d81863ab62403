"""Requests to a process of the host's: one JSON object per connection of a Unix socket in its directory.

A Keep's host process takes these:

    {"do": "certify", "nonce": base64, "audience": text}           -> {"csr", "kind", "evidence", "endorsements",
                                                                       "signatures"}
    {"do": "install", "chain": [...], "root": ..., "not_before": t, "not_after": t} -> {}
    {"do": "provision"}                                            -> {}    it has had itself certified, and runs
    {"do": "check", "where": "inside" | "endpoint"}                -> {}    each of its sockets is served
    {"do": "check", "where": "again", "within": seconds}           -> {}    each with TLS is served still
    {"do": "fail", "reason": text}                                 -> {}    when the Keep has ended, as a failure
    {"do": "accept"}                                               -> {}    it takes connections
    {"do": "listeners"}                                            -> {"places": [...]} and the sockets themselves
    {"do": "renew"}                                                -> {}    when the new certificate is in use
    {"do": "stop", "grace": seconds}                               -> {}    when the Keep has ended
    {"do": "usage"}                                                -> models.Usage
    {"do": "counters"}                                             -> {"accepted": ..., "open": ..., ...}

and a deployment's service process these:

    {"do": "about"}                                                -> {"version", "executable"}
    {"do": "listen", "name", "addr", "port"}                       -> {} and the socket
    {"do": "start", "keep": KeepSpec, "replicas": n, "restart": policy, "project": path}
                                                                   -> {"keep": id}    it waits for its certificate
    {"do": "serve", "version": n, "keep": id}                      -> {}    that version serves in the other's place
    {"do": "scale", "replicas": n}                                 -> {"keeps": [id]}    those that serve now
    {"do": "rollback", "to": n}                                    -> {"version": n}     that serves now
    {"do": "stop", "keep": id, "grace": seconds}                   -> {}    when it has ended, and is not started again
    {"do": "stopping", "keep": id}                                 -> {}    as a host process says that was told to end
    {"do": "leave"}                                                -> {}    it ends, and the Keeps go on

An answer that is `{"error": text, "hint": text}` is a KeepError at the caller, and with `"refused": true` a
VerificationRefused. The directory is the user's alone, and so is the socket.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from enarx_deploy.errors import EnarxDeployError, KeepError, VerificationRefused

SOCKET = "control.sock"
_LIMIT = 1 << 20
_PIECE = 65536
_TIMEOUT = 120.0
_MOST_SOCKETS = 64
_READ_LIMIT = 10.0  # seconds that a caller has to send its request, and to take the answer
_CLOSES_WITHIN = 1.0  # seconds that answers have to be sent to their end
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SHORT_FOR = 0.1  # seconds until a connection is taken that could not be for want of these

Request = dict[str, Any]


class NoAnswer(KeepError):
    """The process is not there, or ended before it answered, or took too long."""


class Answer(NamedTuple):
    """What is answered, and the sockets that go with it."""

    message: Request
    sockets: Sequence[socket.socket] = ()


class Server:
    """Takes requests in a directory, each on a thread of its own, and answers what `do` does."""

    def __init__(self, directory: Path, do: Callable[[Request], Answer], say: Callable[[str], None]) -> None:
        self._directory = directory
        self._do = do
        self._say = say
        self._listener = bind(directory)
        threading.Thread(target=self._serve, name="requests", daemon=True).start()

    def close(self) -> None:
        """Take no more; answers that are being sent are sent to their end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        (self._directory / SOCKET).unlink(missing_ok=True)
        until = time.monotonic() + _CLOSES_WITHIN
        for thread in threading.enumerate():
            if thread.name == "answer" and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in _SHORT_OF:  # it is closed
                    return
                time.sleep(_SHORT_FOR)
            else:
                threading.Thread(target=self._answer, args=(connection,), name="answer", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            answer = self._answer_to(connection)
            try:
                data = json.dumps(answer.message).encode()
                connection.settimeout(_READ_LIMIT)
                sent = socket.send_fds(connection, [data], [one.fileno() for one in answer.sockets])
                connection.sendall(data[sent:])
            except OSError:
                self._say("a caller went away before its answer")
            finally:
                for one in answer.sockets:
                    one.close()

    def _answer_to(self, connection: socket.socket) -> Answer:
        try:
            return self._do(receive(connection, time.monotonic() + _READ_LIMIT))
        except EnarxDeployError as error:
            refused = isinstance(error, VerificationRefused)
            return Answer({"error": str(error), "hint": error.hint, "refused": refused})
        except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
            return Answer({"error": f"the request cannot be done ({error})"})


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
    answer = ask_for_sockets(directory, request, timeout)
    for one in answer.sockets:
        one.close()
    return answer.message


def ask_for_sockets(directory: Path, request: Request, timeout: float = _TIMEOUT) -> Answer:
    """The same, with the sockets that come with the answer, which are the caller's."""
    found: list[int] = []
    until = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short(directory) as place:
            connection.settimeout(timeout)
            connection.connect(place)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            flags = socket.MSG_CMSG_CLOEXEC
            data, found, _, _ = socket.recv_fds(connection, _PIECE, _MOST_SOCKETS, flags)
            answer = receive(connection, until, data)
    except (OSError, ValueError) as error:
        _close(found)
        raise NoAnswer(
            f"the process that has {directory.name} does not answer",
            hint="`enarx-deploy keeps` shows what became of it",
        ) from error
    if "error" in answer:
        _close(found)
        kind = VerificationRefused if answer.get("refused") is True else KeepError
        raise kind(answer["error"], hint=answer.get("hint", ""))
    return Answer(answer, [socket.socket(fileno=descriptor) for descriptor in found])


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def receive(connection: socket.socket, until: float, begun: bytes = b"") -> Request:
    """One JSON object that began so, up to the end of the stream, by that moment of the monotonic clock.

    Raises ValueError, TimeoutError.
    """
    data = bytearray(begun)
    while True:
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError("too slow")
        connection.settimeout(left)
        if not (piece := connection.recv(_PIECE)):
            break
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
