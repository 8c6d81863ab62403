"""The server that the templates in C share, put to what strangers do: each answer is looked at as bytes, over TLS."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KIB = 1024
SERVED = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def store(cli: Any, make_project: Callable[[str], Path]) -> Callable[[], ssl.SSLSocket]:
    """The template `key-value`, running; each call is a new client."""
    started = cli("up", "--json", "-C", str(make_project("key-value")), "--set", "files.web.port=0")
    assert started.returncode == 0, started.stderr
    record = json.loads(started.stdout)
    trust = ssl.create_default_context(cafile=record["steward"]["root_pem_path"])

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection(("localhost", record["endpoints"][0]["port"]), timeout=120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return trust.wrap_socket(plain, server_hostname="localhost")

    return connect


def answer_to(client: ssl.SSLSocket, request: bytes) -> bytes:
    """Send, and take all until the server closes."""
    client.sendall(request)
    return b"".join(iter(lambda: client.recv(64 * KIB), b""))


def put(name: str, value: bytes, more: str = "Connection: close\r\n") -> bytes:
    return f"PUT /keys/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(value)}\r\n{more}\r\n".encode() + value


GET = b"GET /keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

REFUSED = {
    "no_version": (b"GET /keys\r\n\r\n", 400),
    "another_protocol": (b"GET /keys SIP/2.0\r\n\r\n", 400),
    "a_longer_version": (b"GET /keys HTTP/1.10\r\n\r\n", 400),
    "a_path_without_slash": (b"GET keys HTTP/1.1\r\n\r\n", 400),
    "a_nul_in_the_head": (b"GET /keys HTTP/1.1\r\nA: \0\r\n\r\n", 400),
    "a_nul_in_the_path": (b"GET /keys/%00 HTTP/1.1\r\n\r\n", 400),
    "half_an_escape": (b"GET /keys/%4 HTTP/1.1\r\n\r\n", 400),
    "a_line_break_in_the_path": (b"GET /keys/%0a HTTP/1.1\r\n\r\n", 400),
    "two_lengths": (b"PUT /keys/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a_negative_length": (b"PUT /keys/a HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    "a_length_with_a_tail": (b"PUT /keys/a HTTP/1.1\r\nContent-Length: 1x\r\n\r\na", 400),
    "a_length_past_64_bits": (b"PUT /keys/a HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\na", 413),
    "a_body_too_long": (b"PUT /keys/a HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
    "chunks": (b"PUT /keys/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 501),
    "chunks_and_a_length": (b"PUT /a HTTP/1.1\r\ntransfer-encoding: chunked\r\nContent-Length: 1\r\n\r\na", 501),
    "a_head_without_end": (b"GET /keys HTTP/1.1\r\n" + b"A: b\r\n" * 2 * KIB, 431),
}


@pytest.mark.parametrize("defect", REFUSED)
def test_what_is_no_request_is_refused(store: Callable[[], ssl.SSLSocket], defect: str) -> None:
    request, status = REFUSED[defect]
    with store() as client:
        assert answer_to(client, request).startswith(b"HTTP/1.1 %d " % status)


def test_a_refusal_reaches_a_client_that_is_still_sending(store: Callable[[], ssl.SSLSocket]) -> None:
    for _ in range(5):
        with store() as client:
            client.sendall(b"PUT /keys/a HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n")
            assert answer_to(client, b"x" * 4_194_304).startswith(b"HTTP/1.1 413 ")


def test_requests_that_come_together_are_answered_in_turn(store: Callable[[], ssl.SSLSocket]) -> None:
    first, second = (
        put("turn", b"GET / HTTP/1.1\r\n\r\n", more=""),
        b"GET /keys/turn HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    with store() as client:
        answers = answer_to(client, first + second)
    assert answers.startswith(b"HTTP/1.1 201 Created\r\n")
    assert answers.endswith(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert answers.count(b"HTTP/1.1 20") == 2


def test_head_is_answered_without_the_body(store: Callable[[], ssl.SSLSocket]) -> None:
    with store() as client:
        answer_to(client, put("head", b"12345"))
    with store() as client:
        answer = answer_to(client, b"HEAD /keys/head HTTP/1.0\r\n\r\n")
    assert answer.startswith(SERVED)
    assert b"\r\nContent-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_request_byte_by_byte_is_a_request(store: Callable[[], ssl.SSLSocket]) -> None:
    with store() as client:
        for byte in GET[:-1]:
            client.sendall(bytes([byte]))
        assert answer_to(client, GET[-1:]).startswith(SERVED)


def test_silent_clients_and_half_requests_keep_nobody_waiting(store: Callable[[], ssl.SSLSocket]) -> None:
    waiting = [store() for _ in range(20)]
    for client in waiting[10:]:
        client.sendall(GET[:20])
    with store() as client:
        assert answer_to(client, GET).startswith(SERVED)
    for client in waiting:
        client.close()


def test_a_client_that_takes_no_answer_is_held_back_and_others_are_served(store: Callable[[], ssl.SSLSocket]) -> None:
    value = b"v" * 64 * KIB
    with store() as client:
        answer_to(client, put("large", value))
    requests = b"GET /keys/large HTTP/1.1\r\n\r\n" * 1_000_000
    with store() as greedy, store() as other:
        greedy.setblocking(False)
        sent = 0
        while sent < len(requests) and select.select([], [greedy], [], 2)[1]:
            with contextlib.suppress(ssl.SSLWantWriteError):
                sent += greedy.send(requests[sent : sent + 64 * KIB])
        assert sent < len(requests)  # they are not taken while its answers wait
        assert answer_to(other, GET).startswith(SERVED)


def test_many_clients_at_once_get_each_their_own(store: Callable[[], ssl.SSLSocket]) -> None:
    def one(number: int) -> bytes:
        value = b"%d-" % number * 1000
        with store() as client:
            answer_to(client, put(f"many-{number}", value))
        with store() as client:
            return answer_to(client, b"GET /keys/many-%d HTTP/1.0\r\n\r\n" % number).partition(b"\r\n\r\n")[2]

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(60))) == [b"%d-" % number * 1000 for number in range(60)]


def test_a_full_store_says_so_and_takes_again_what_was_freed(store: Callable[[], ssl.SSLSocket]) -> None:
    value = b"f" * 64 * KIB
    statuses = []
    with store() as client:
        for number in range(1100):
            client.sendall(put(f"full-{number}", value, more=""))
            statuses.append(client.recv(4 * KIB)[9:12])
            if statuses[-1] == b"507":
                break
        client.sendall(b"DELETE /keys/full-0 HTTP/1.1\r\n\r\n")
        assert client.recv(4 * KIB)[9:12] == b"204"
    assert statuses[-1] == b"507"
    assert len(statuses) > 1000
    with store() as client:
        assert answer_to(client, put("full-0", value)).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("name", ["chat", "decision-tree", "key-value"])
def test_the_server_is_the_same_in_each_template(make_project: Callable[[str], Path], name: str) -> None:
    for file in ("http.c", "http.h"):
        assert (make_project(name) / file).read_bytes() == (ROOT / "templates/http" / file).read_bytes()
        assert not (make_project(name) / file).is_symlink()
