"""Whether a Keep serves: asked of it before clients are let in, of its endpoints when they are, and ever again.

A socket with TLS is healthy when it shows a certificate that leads to the Keep's root, is valid, and proves to have its
key; of a Keep that serves, it may have ended, which renewals and `/healthz` tell. The look ends there, before its own
half of the handshake is sent, so that no workload ever sees it. A socket without TLS is healthy when a connection to it
is accepted, which the workload sees as one that says nothing. Each socket has `limit` seconds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy.errors import KeepError

if TYPE_CHECKING:
    from enarx_deploy.host.session import Session
    from enarx_deploy.manifest import Listen
    from enarx_deploy.models import Endpoint


class Inside:
    """Looks at the sockets of one Keep, whichever others serve on them too: each by a listening socket of its own."""

    def __init__(self, session: Session, directory: Path) -> None:
        self._session = session
        self._directory = directory
        self._doors: dict[str, str] = {}
        self._looks = 0  # at a Keep that serves: connections, and handshakes that end too soon
        self._told: dict[str, int] = {}
        self._looking = threading.Lock()
        self._telling = threading.Lock()

    def check(self, root: bytes, limit: float) -> None:
        """Look at each socket, before clients are let in. Raises KeepError."""
        with self._looking:
            for entry, _ in self._session.listeners:
                accepted = self._session.counters()["accepted"]
                with self._connected(entry, limit) as connection:
                    if entry.prot == "tls":
                        _check_tls(connection, root, f"{entry.name!r}")
                    else:
                        _await_accepted(self._session, accepted, limit, f"{entry.name!r}")

    def check_again(self, root: bytes, limit: float) -> None:
        """Look at each socket with TLS, while clients are served: a workload would see each look at another.

        Where no socket can be looked at, since none has TLS or all connections are in use, the Keep is asked whether it
        is there; one that has no sockets may compute for as long as it likes. That a certificate has ended is not its
        fault, and another Keep would have none. Raises KeepError.
        """
        with self._looking:
            if not self._session.listeners:
                return
            entries = [entry for entry, _ in self._session.listeners if entry.prot == "tls"]
            try:
                for entry in () if self._session.is_full else entries:
                    self._check_again(entry, root, limit)
            except KeepError:
                if not self._session.is_full:
                    raise
            if not entries or self._session.is_full:
                self._session.check_answers(limit)

    def _check_again(self, entry: Listen, root: bytes, limit: float) -> None:
        self._looks += 1
        with self._connected(entry, limit) as connection:
            _check_tls(connection, root, f"{entry.name!r}", at_any_time=True)

    def counted(self) -> dict[str, int]:
        """What the session counts, without the looks at a Keep that serves.

        A look is counted in several steps. Never less is told than was told before, so that none of them shows.
        """
        with self._telling:
            counted = self._session.counters()
            for name in ("accepted", "handshakes_failed"):
                counted[name] = max(self._told.get(name, 0), counted[name] - self._looks)
            self._told = counted
            return dict(counted)

    @contextlib.contextmanager
    def _connected(self, entry: Listen, limit: float) -> Iterator[socket.socket]:
        """A connection to an entry of the Keep's."""
        if entry.name not in self._doors:
            self._doors[entry.name] = self._door(entry)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limit)
            try:
                connection.connect(self._doors[entry.name])
            except OSError as error:
                raise KeepError(f"{entry.name!r} cannot be connected to: {error}", hint=_HINT) from error
            yield connection

    def _door(self, entry: Listen) -> str:
        """Have the Keep accept on one more socket. Answers the way to it, which is this process's alone: its name is
        gone again, and a descriptor of it stays open as long as this process lives."""
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place = Path(f"/proc/self/fd/{directory}/{_SOCKET}")
        try:
            place.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(str(place))
                listener.listen(_WAITING)
                self._session.accept_on(entry, listener)
            return f"/proc/self/fd/{os.open(place, os.O_PATH | os.O_CLOEXEC)}"
        finally:
            place.unlink(missing_ok=True)
            os.close(directory)


def check_endpoints(endpoints: Sequence[Endpoint], root: bytes, limit: float) -> None:
    """Look at endpoints as clients on this machine meet them. Raises KeepError."""
    for endpoint in endpoints:
        what = f"{endpoint.name!r} on {endpoint.host} port {endpoint.port}"
        try:
            connection = socket.create_connection((endpoint.host, endpoint.port), timeout=limit)
        except OSError as error:
            raise KeepError(f"{what} cannot be connected to: {error}", hint=_HINT) from error
        with connection:
            if endpoint.prot == "tls":
                _check_tls(connection, root, what)


_SOCKET = "check.sock"
_SOON = 0.01  # seconds; 0 would be not to wait at all
_WAITING = 4  # looks that a Keep has not come to yet
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME, which the module `ssl` has no name for
_HINT = "`enarx-deploy logs` shows what the Keep wrote"


def _check_tls(connection: socket.socket, root: bytes, what: str, *, at_any_time: bool = False) -> None:
    """Shake hands up to where the other side has proven itself, in the time that the connection has for one step."""
    until = time.monotonic() + (connection.gettimeout() or 0.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if at_any_time:
        context.verify_flags |= _NO_CHECK_TIME
    context.check_hostname = False  # names are the policy's, and those of clients elsewhere may be among them
    context.load_verify_locations(cadata=x509.load_der_x509_certificate(root).public_bytes(Encoding.PEM).decode())
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    shaking = context.wrap_bio(received, to_send)
    try:
        while True:
            try:
                shaking.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(to_send.read())
                connection.settimeout(max(_SOON, until - time.monotonic()))
                if not (piece := connection.recv(65536)):
                    raise KeepError(f"{what} ended the handshake", hint=_HINT) from None
                received.write(piece)
            else:
                return
    except ssl.SSLError as error:
        raise KeepError(f"{what} does not speak TLS with its certificate: {error}", hint=_HINT) from error
    except OSError as error:
        raise KeepError(f"{what} did not shake hands: {error}", hint=_HINT) from error


def _await_accepted(session: Session, before: int, limit: float, what: str) -> None:
    until = time.monotonic() + limit
    while session.counters()["accepted"] <= before:
        if time.monotonic() > until:
            raise KeepError(f"{what} accepted no connection in {limit:.0f} seconds", hint=_HINT)
        time.sleep(0.005)
