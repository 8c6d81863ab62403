"""Whether a Keep serves: asked of it before clients are let in, and of its endpoints when they are.

A socket with TLS is healthy when it shows a certificate that leads to the Keep's root, is valid, and proves to have its
key. The look ends there, before its own half of the handshake is sent, so that no workload ever sees it. A socket
without TLS is healthy when a connection to it is accepted, which the workload sees as one that says nothing. Each
socket has `limit` seconds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy.errors import KeepError

if TYPE_CHECKING:
    from enarx_deploy.host.session import Session
    from enarx_deploy.models import Endpoint


def check_inside(session: Session, directory: Path, root: bytes, limit: float) -> None:
    """Look at each socket of a Keep that takes no clients yet, by a socket of its own. Raises KeepError."""
    for entry, _ in session.listeners:
        accepted = session.counters()["accepted"]
        with _own_listener(directory) as (listener, place):
            session.accept_on(entry, listener)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(limit)
                connection.connect(place)
                if entry.prot == "tls":
                    _check_tls(connection, root, f"{entry.name!r}")
                else:
                    _await_accepted(session, accepted, limit, f"{entry.name!r}")


@contextlib.contextmanager
def _own_listener(directory: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket that the user alone can reach, and nobody afterwards; and its address, which must be short."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    place = Path(f"/proc/self/fd/{descriptor}/{_SOCKET}")
    try:
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(place))
            listener.listen(1)
            yield listener, str(place)
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


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
_HINT = "`enarx-deploy logs` shows what the Keep wrote"


def _check_tls(connection: socket.socket, root: bytes, what: str) -> None:
    """Shake hands up to where the other side has proven itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
