"""What a Keep takes for an answer of its registry: a small part of HTTP/1.1, and nothing beside it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enarx_keep.errors import RegistryFault
from enarx_keep.http_client import HEAD_LIMIT, Client, Head, read_head

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/wasm"


class Server:
    """What one connection says, in pieces, and what it was asked."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.asked = b""

    def read(self, most: int) -> bytes:
        if not self.pieces:
            return b""
        piece, self.pieces[0] = self.pieces[0][:most], self.pieces[0][most:]
        if not self.pieces[0]:
            del self.pieces[0]
        return piece

    def write(self, data: bytes) -> None:
        self.asked += data


def client(*servers: Server) -> Client:
    waiting = list(servers)

    def dial() -> Server:
        if not waiting:
            raise RegistryFault("nobody listens")
        return waiting.pop(0)

    return Client("registry.example", dial)


def get(answer: bytes, most: int = 100) -> bytes:
    return client(Server(answer)).get("/x", most)


def test_it_asks_for_what_it_wants_and_nothing_more() -> None:
    server = Server(GOOD + b"\r\n\r\nhello")
    assert client(server).get("/api/x", 5) == b"hello"
    assert server.asked == b"GET /api/x HTTP/1.1\r\nHost: registry.example\r\nAccept-Encoding: identity\r\n\r\n"


def test_an_answer_may_come_byte_by_byte() -> None:
    answer = GOOD + b"\r\n\r\nhello"
    assert client(Server(*(bytes([byte]) for byte in answer))).get("/x", 5) == b"hello"


def test_a_connection_is_used_until_the_server_ends_it() -> None:
    closing = GOOD.replace(b"Type", b"Type: a/b\r\nConnection: keep, close\r\nX")
    first, second = Server(GOOD + b"\r\n\r\nhello", closing + b"\r\n\r\nworld"), Server(GOOD + b"\r\n\r\nagain")
    asking = client(first, second)
    assert [asking.get("/x", 5) for _ in range(3)] == [b"hello", b"world", b"again"]


def test_a_connection_that_was_ended_while_idle_is_made_again_once() -> None:
    asking = client(Server(GOOD + b"\r\n\r\nhello"), Server(GOOD + b"\r\n\r\nworld"))
    assert [asking.get("/x", 5) for _ in range(2)] == [b"hello", b"world"]
    with pytest.raises(RegistryFault, match="nobody listens"):
        asking.get("/x", 5)


def test_a_connection_that_ends_at_once_is_a_fault() -> None:
    with pytest.raises(RegistryFault, match="ended the connection"):
        client(Server(), Server(GOOD)).get("/x", 5)


@pytest.mark.parametrize(
    ("defect", "answer", "why"),
    [
        ("no http", b"SSH-2.0-x\r\n\r\n", "not answer in HTTP/1.1"),
        ("http 1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "not answer in HTTP/1.1"),
        ("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "not answer in HTTP/1.1"),
        ("no length", b"HTTP/1.1 200 OK\r\n\r\nhello", "how long"),
        ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "coded"),
        ("both", GOOD + b"\r\nTransfer-Encoding: chunked\r\n\r\nhello", "coded"),
        ("packed", GOOD + b"\r\nContent-Encoding: gzip\r\n\r\nhello", "coded"),
        ("two lengths", GOOD + b"\r\nContent-Length: 6\r\n\r\nhello", "how long"),
        ("negative", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "how long"),
        ("hexadecimal", b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", "how long"),
        ("plus", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "how long"),
        ("all blank", GOOD + b"\r\nX:" + b" " * 16_000 + b"\0\r\n\r\nhello", "head of its answer cannot be read"),
        ("folded", GOOD + b"\r\n folded\r\n\r\nhello", "head of its answer cannot be read"),
        ("space before colon", GOOD + b"\r\nX : y\r\n\r\nhello", "head of its answer cannot be read"),
        ("bare newline", GOOD + b"\r\nX: y\nContent-Length: 1\r\n\r\nhello", "head of its answer cannot be read"),
        ("too many fields", GOOD + b"\r\nX: y" * 70 + b"\r\n\r\nhello", "not answer in HTTP/1.1"),
        ("endless head", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2 * HEAD_LIMIT, "too long"),
        ("early end", GOOD + b"\r\n\r\nhell", "ended the connection"),
        ("early end of the head", GOOD, "ended the connection"),
        ("more than it says", GOOD + b"\r\n\r\nhello, world", "more than it says"),
        ("continue", b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", "status 100"),
        ("redirect", b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", "a redirect, which is not"),
        ("not found", b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\x1b", "no such package.*no "),
        ("forbidden", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "not serve this package to this Keep"),
        ("down", b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", "it fails"),
        ("error without end", b"HTTP/1.1 500 Error\r\nContent-Length: 99999999\r\n\r\n", "at most"),
    ],
)
def test_what_is_no_answer(defect: str, answer: bytes, why: str) -> None:
    with pytest.raises(RegistryFault, match=why):
        get(answer)


def test_a_body_longer_than_can_be_right_is_refused_before_it_is_read() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
    with pytest.raises(RegistryFault, match="999,999,999,999 bytes, and at most 100"):
        client(server).get("/x", 100)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda more: GOOD + b"\r\n" + more))
@example(GOOD)
def test_any_bytes_are_a_head_or_a_fault(head: bytes) -> None:
    with contextlib.suppress(RegistryFault):
        found = read_head(head)
        assert isinstance(found, Head)
        assert 100 <= found.status < 600
        assert 0 <= found.length < 10**12
