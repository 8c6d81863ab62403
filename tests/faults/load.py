"""A constant load of real TLS clients, and a count of what became of each request."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

REQUEST = b"0123456789abcdef" * 16
THOUSANDS = 2000
"""Requests that are answered under each load, at least."""
KEPT_FOR = 25
"""Requests that a client sends over a connection that it keeps: long enough to meet a change, and soon over."""
WAITS = 60.0
"""Seconds after which a client gives up: a request that takes so long has failed."""
_PAUSE = 0.004  # seconds between two requests of a client, so that the machine has time for what is tested


@dataclass
class Client:
    """Sends one request at a time, over connections of so many requests each, and counts what became of them."""

    port: int
    context: ssl.SSLContext
    kept_for: int
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def run(self, over: threading.Event) -> None:
        """Until it is over. A client whose request failed waits a little, as a real one would."""
        while not over.is_set():
            try:
                self._use_a_connection(over)
            except OSError as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                over.wait(0.05)

    def _use_a_connection(self, over: threading.Event) -> None:
        with connect(self.port, self.context) as connection:
            for _ in range(self.kept_for):
                request(connection)
                self.answered += 1
                if over.wait(_PAUSE):
                    return


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection after its handshake. Raises OSError, of which SSLError is one."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=WAITS)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def request(connection: ssl.SSLSocket) -> None:
    """One request and its answer. Raises OSError where it fails."""
    got = bytearray()
    connection.sendall(REQUEST)
    while len(got) < len(REQUEST) and (piece := connection.recv(4096)):
        got += piece
    if got != REQUEST:
        raise ConnectionError(f"{len(got)} bytes came back")


class Load:
    """So many clients: every other one keeps its connections for a while, the others have one for each request."""

    def __init__(self, port: int, context: ssl.SSLContext, clients: int = 4) -> None:
        self._over = threading.Event()
        self.clients = [Client(port, context, KEPT_FOR if number % 2 else 1) for number in range(clients)]
        self.threads = [threading.Thread(target=client.run, args=(self._over,)) for client in self.clients]

    @property
    def answered(self) -> int:
        return sum(client.answered for client in self.clients)

    @property
    def failed(self) -> Counter[str]:
        """By what the clients were told."""
        return sum((client.failed for client in self.clients), Counter())

    @property
    def most_failures_of_a_client(self) -> int:
        return max(client.failed.total() for client in self.clients)

    def goes_on(self, requests: int = 200) -> None:
        """Wait until so many more requests were answered."""
        self._reaches(self.answered + requests)

    def reaches_thousands(self) -> None:
        self._reaches(THOUSANDS)

    def end(self) -> None:
        self._over.set()
        for thread in self.threads:
            thread.join()

    def _reaches(self, wanted: int) -> None:
        until = time.monotonic() + 2 * WAITS
        while self.answered < wanted:
            assert time.monotonic() < until, f"only {self.answered} of {wanted} answered; failed: {self.failed}"
            time.sleep(0.02)


@contextmanager
def under_load(load: Load) -> Iterator[Load]:
    """While the clients are at work: from the first answers on, and until thousands were answered, some of them after
    the last fault."""
    for thread in load.threads:
        thread.start()
    try:
        load.goes_on()
        yield load
        load.goes_on()
        load.reaches_thousands()
    finally:
        load.end()
