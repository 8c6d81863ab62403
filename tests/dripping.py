"""A server that answers every request a byte at a time, from some part of the answer on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

PAUSE = 0.05  # seconds between two bytes
_PLAIN = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def dripping(part: str, length: int = 100_000) -> Iterator[str]:
    """HOST:PORT of one that drips its `head`, its `body`, the `framing` of its chunks, or `interim` answers.

    One of `interims` sends such answers as fast as they are taken.
    """
    ended = threading.Event()
    at_once, slowly = {
        "head": (b"", b"HTTP/1.1 200 OK\r\nX-Long: " + b"1" * length),
        "body": (_PLAIN % length, b"1" * length),
        "framing": (_CHUNKED, b"1;" + b"x" * length),
        "interim": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * length),
        "interims": (b"HTTP/1.1 102 Processing\r\n\r\n" * length, b"H"),
    }[part]

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(at_once)
            for byte in slowly:
                if ended.wait(PAUSE):
                    return
                connection.sendall(bytes([byte]))

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
