"""A constant load of real TLS clients, and a count of what became of each request."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

REQUEST = b"0123456789abcdef" * 16
WAITS = 20.0
"""Seconds after which a client gives up: a request that takes so long has failed."""


@dataclass
class Load:
    """So many clients, each with one connection after the other: handshake, request, answer, end."""

    port: int
    context: ssl.SSLContext
    clients: int = 4
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def request(self) -> None:
        """One request. Raises OSError, ssl.SSLError where it fails."""
        got = bytearray()
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=WAITS) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(REQUEST)
            while len(got) < len(REQUEST) and (piece := connection.recv(4096)):
                got += piece
        if got != REQUEST:
            raise ConnectionError(f"{len(got)} bytes came back")

    def run(self) -> None:
        """Until it is over. A client whose request failed waits a little, as a real one would."""
        while not self._over.is_set():
            began = time.monotonic()
            try:
                self.request()
            except OSError as error:
                with self._counting:
                    self.failed[f"{type(error).__name__}: {error}"] += 1
                self._over.wait(0.05)
            else:
                with self._counting:
                    self.answered += 1
                    self.longest = max(self.longest, time.monotonic() - began)

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def goes_on(self, requests: int = 100) -> None:
        """Wait until so many more requests were answered."""
        wanted, until = self.answered + requests, time.monotonic() + 60
        while self.answered < wanted:
            assert time.monotonic() < until, f"only {self.answered} of {wanted} answered; failed: {self.failed}"
            time.sleep(0.02)

    def end(self) -> None:
        self._over.set()


@contextmanager
def under_load(load: Load) -> Iterator[Load]:
    """While the clients are at work, from the first answers on and until some more have come after the last fault."""
    threads = [threading.Thread(target=load.run, name=f"client-{number}") for number in range(load.clients)]
    for thread in threads:
        thread.start()
    try:
        load.goes_on()
        yield load
        load.goes_on()
    finally:
        load.end()
        for thread in threads:
            thread.join()


LoadOf = Callable[..., Load]
