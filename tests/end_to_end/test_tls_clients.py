"""Clients that are silent, slow, old, rude or gone: none of them is another client's problem."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time

import pytest

HANDSHAKE_TIMEOUT = 1
SHORT = f"[tls.echo]\nhandshake_timeout = {HANDSHAKE_TIMEOUT}\n"
LONGER_THAN_CLIENTS_WAIT = 300
FEW = 8


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first message of a handshake."""
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def test_silent_clients_delay_nobody(service) -> None:
    echo = service(extra=f"[tls.echo]\nhandshake_timeout = {LONGER_THAN_CLIENTS_WAIT}\n")
    hello = client_hello(echo.context())
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(("localhost", echo.port)))
            silent.enter_context(echo.connect())
            half = silent.enter_context(socket.create_connection(("localhost", echo.port)))
            half.sendall(hello[: len(hello) // 2])
        for _ in range(10):
            assert echo.echoes()


@pytest.mark.parametrize("sent", ["nothing", "half of a hello", "a hello"])
def test_a_handshake_that_does_not_end_is_given_up(service, sent: str) -> None:
    echo = service(extra=SHORT)
    hello = client_hello(echo.context())
    parts = {"nothing": b"", "half of a hello": hello[: len(hello) // 2], "a hello": hello}
    with socket.create_connection(("localhost", echo.port), timeout=120) as half:
        half.sendall(parts[sent])
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while half.recv(65536):
                pass
        assert time.monotonic() - began >= HANDSHAKE_TIMEOUT * 0.9
    assert echo.echoes()


def test_unfinished_handshakes_give_their_places_back(service, eventually) -> None:
    echo = service(extra=f"{SHORT}[resources]\nconnections = {FEW}\n")
    with contextlib.ExitStack() as silent:
        for _ in range(FEW):
            silent.enter_context(socket.create_connection(("localhost", echo.port)))
        assert echo.echoes()  # waits in the backlog until those are given up
    eventually(lambda: echo.counters()["open"] == 0, "every place is free")


def test_a_client_of_tls_12_is_refused(service) -> None:
    echo = service()
    old = echo.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        echo.connect(old)
    assert echo.echoes()


def test_what_is_not_tls_is_refused(service) -> None:
    echo = service()
    with socket.create_connection(("localhost", echo.port), timeout=120) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(100):
                answer += piece
        assert b"HTTP" not in answer
    assert echo.echoes()


def test_no_session_is_resumed(service) -> None:
    echo = service()
    context = echo.context()
    with echo.connect(context) as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        session = first.session
    with socket.create_connection(("localhost", echo.port), timeout=120) as plain:
        how = {} if session is None or not session.has_ticket else {"session": session}
        with context.wrap_socket(plain, server_hostname="localhost", **how) as second:
            second.sendall(b"y")
            assert second.recv(1) == b"y"
            assert not second.session_reused
            assert session is None or not session.has_ticket


def test_after_close_notify_everything_still_comes_back(service) -> None:
    """The client ends its half over a memory BIO, since Python's `unwrap` would not read what is still on its way."""
    echo = service()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = echo.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    data = bytes(range(256)) * 512  # 128 KiB: more than a ring holds
    with socket.create_connection(("localhost", echo.port), timeout=120) as plain:

        def until(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    piece = plain.recv(65536)
                    incoming.write(piece) if piece else incoming.write_eof()

        until(tls.do_handshake)
        tls.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        plain.sendall(outgoing.read())
        plain.shutdown(socket.SHUT_WR)
        raw = b""
        while piece := plain.recv(65536):
            raw += piece
        incoming.write(raw)
        incoming.write_eof()
        # OpenSSL reads no more after its own close_notify is answered; so what came is counted before that.
        received = bytearray()
        with contextlib.suppress(ssl.SSLError):
            while piece := tls.read(65536):
                received += piece
    assert len(raw) > len(data)
    assert bytes(received) == data


@pytest.mark.parametrize("after", ["the hello", "the handshake", "sending", "receiving a part"])
def test_clients_that_reset_leave_nothing_behind(service, eventually, after: str) -> None:
    echo = service(extra=f"[resources]\nconnections = {FEW}\n")
    context = echo.context()
    hello = client_hello(context)
    for _ in range(3 * FEW):
        if after == "the hello":
            client = socket.create_connection(("localhost", echo.port))
            client.sendall(hello)
        else:
            client = echo.connect(context)
        if after in ("sending", "receiving a part"):
            client.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ssl.SSLError):
                client.sendall(bytes(300_000))  # until nothing fits any more, because nobody reads the echo
        if after == "receiving a part":
            client.settimeout(120)
            client.recv(1000)
        reset(client)
    eventually(lambda: echo.counters()["open"] == 0, "every place is free")
    for _ in range(2 * FEW):
        assert echo.echoes(b"x" * 100_000)
    assert echo.status()["state"] == "running"


def test_more_clients_than_places_are_served_in_turn(service) -> None:
    echo = service(extra=f"[resources]\nconnections = {FEW}\n")
    for _ in range(5 * FEW):
        assert echo.echoes()
