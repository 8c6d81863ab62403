"""What a client may send and how long it may take, on plain connections and in TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn

from enarx_service import connections
from enarx_service.connections import BoundedConnection, BoundedLoop
from enarx_service.tls import Listener
from enarx_steward import grants, policy, tls
from enarx_steward.app import make_app
from enarx_steward.ca import Authority
from enarx_steward.enarx_protocol import MAX_BODY
from enarx_steward.issuance import Steward
from enarx_steward.root import Root
from enarx_steward.server import MAX_CONNECTIONS

from .conftest import POLICY, launch, make_state

NOW = datetime.now(UTC)
ASK = b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n"
LOCALHOST = grants.Grant(dns_names=("localhost",), addresses=(), lifetime=timedelta())
BRIEF = timedelta(seconds=0.8)
PATIENT = timedelta(minutes=2)


class Peer:
    """Where a Steward listens, and how a client connects to it."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self.address = address
        self.context = context
        self.server: uvicorn.Server | None = None

    def connect(self) -> socket.socket:
        plain = socket.create_connection(self.address, timeout=120)
        return self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain

    def say(self, *parts: bytes) -> bytes:
        """The answer to these bytes, up to the end of the connection or of the answer's head."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # it may answer and end before all is sent
                for part in parts:
                    connection.sendall(part)
            return head_of(connection)


def head_of(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
            answer += more
    return answer


def post(path: str, size: int, content_type: str) -> bytes:
    words = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n"
    return words.encode()


@pytest.fixture(scope="module", params=["plain", "tls"])
def peer(request, tmp_path_factory, http):
    """A Steward in a process of its own."""
    directory = make_state(tmp_path_factory.mktemp("caps") / "state")
    if request.param == "plain":
        running = launch(directory, http)
        address, _, port = running.client.url.removeprefix("http://").rpartition(":")
        yield Peer((address, int(port)), None)
    else:
        text = POLICY.replace("[ca]", '[ca]\naudience = "https://localhost"')
        (directory / "steward.toml").write_text(text)
        running = launch(directory, http, "--listen", "0.0.0.0:0")
        port = int(running.client.url.rpartition(":")[2])
        yield Peer(("127.0.0.1", port), ssl.create_default_context(cadata=running.root.read_text()))
    running.process.terminate()
    _, said = running.process.communicate(timeout=120)
    assert "Traceback" not in said


@pytest.fixture(params=["plain", "tls"])
def impatient(request) -> Iterator[Callable[[str], Peer]]:
    """A Steward in this process whose patience ends while a test waits: with `handshake`, `head`, `body` or `nothing`.

    With all else it is patient, so that the test may be slow.
    """
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        yield lambda thing: stack.enter_context(_running(request, patch, thing))


@contextlib.contextmanager
def _running(request, patch: pytest.MonkeyPatch, thing: str) -> Iterator[Peer]:
    patience = dict.fromkeys(("handshake", "head", "body"), PATIENT) | {thing: BRIEF}
    patch.setattr(connections, "HANDSHAKE", patience["handshake"])
    patch.setattr(BoundedConnection, "LIFETIME", patience["head"])
    accepted, root = policy.parse(POLICY.encode()), Root.create(NOW)
    steward = Steward(Authority.create(root, accepted, NOW), accepted, audience="a")
    config = uvicorn.Config(
        make_app(steward, body_timeout=patience["body"]),
        http=BoundedConnection,
        loop=f"{BoundedLoop.__module__}:{BoundedLoop.__name__}",
        ws="none",
        lifespan="off",
        log_config=None,
    )
    config.load()
    if request.param == "tls":
        config.ssl = Listener(Fixed(tls.issue(root, LOCALHOST, NOW)), request.getfixturevalue("tmp_path"), NOW).context
    server = uvicorn.Server(config)
    context = ssl.create_default_context(cadata=root.pem) if request.param == "tls" else None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            peer = Peer(listener.getsockname(), context)
            peer.server = server
            yield peer
        finally:
            server.should_exit = True
            thread.join()


class Fixed:
    """A certificate with its key."""

    def __init__(self, pem: bytes) -> None:
        self._pem = pem

    def read(self, now: datetime) -> bytes:
        return self._pem


@pytest.mark.parametrize(
    ("path", "content_type"), [("/v1/certificate", "application/json"), ("/", "application/pkcs10")]
)
def test_a_body_has_at_most_2_mib(peer, path, content_type):
    assert MAX_BODY == 2 << 20
    assert peer.say(post(path, MAX_BODY, content_type), b"x" * MAX_BODY).startswith(b"HTTP/1.1 400 ")
    assert peer.say(post(path, MAX_BODY + 1, content_type), b"x" * (MAX_BODY + 1)).startswith(b"HTTP/1.1 413 ")


def test_headers_without_an_end_are_not_read_on(peer):
    line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
    assert peer.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n", line * 200).startswith(b"HTTP/1.1 400 ")


def test_a_target_without_an_end_is_not_read_on(peer):
    assert peer.say(b"GET /" + b"x" * 200_000).startswith(b"HTTP/1.1 400 ")


# In TLS, so many handshakes could take longer here than a body may.
@pytest.mark.parametrize("peer", ["plain"], indirect=True)
def test_beyond_the_most_connections_that_ask_the_answer_is_503_until_some_have_gone(peer):
    begin = post("/", 10, "application/pkcs10").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with contextlib.ExitStack() as open_:
        for _ in range(MAX_CONNECTIONS - 1):
            connection = open_.enter_context(peer.connect())
            connection.sendall(begin)
            assert head_of(connection).startswith(b"HTTP/1.1 100 ")
        assert peer.say(ASK).startswith(b"HTTP/1.1 503 ")
    for _ in range(100):
        if peer.say(ASK).startswith(b"HTTP/1.1 200 "):
            return
    pytest.fail("it does not answer any more")


def test_connections_that_ask_nothing_make_room(peer):
    with contextlib.ExitStack() as open_:
        for _ in range(MAX_CONNECTIONS):
            open_.enter_context(peer.connect())
        for _ in range(3):
            assert peer.say(ASK).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_sends_nothing_holds_up_nobody(impatient):
    peer = impatient("nothing")
    with contextlib.ExitStack() as silent:
        connections = [silent.enter_context(peer.connect()) for _ in range(50)]
        assert peer.say(ASK).startswith(b"HTTP/1.1 200 ")
        for connection in connections:  # none of them had to end before
            connection.setblocking(False)
            with pytest.raises((BlockingIOError, ssl.SSLWantReadError)):
                connection.recv(1)


def test_a_client_that_does_not_take_its_answers_is_cut_off(impatient):
    brief = impatient("head")
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(120)
        plain.connect(brief.address)
        connection = brief.context.wrap_socket(plain, server_hostname="localhost") if brief.context else plain
        with connection:
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # it may be cut off before all is sent
                connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            deadline = time.monotonic() + 60
            while brief.server.server_state.connections:
                assert time.monotonic() < deadline, "it is still there"
                time.sleep(0.05)


@pytest.mark.parametrize("words", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc"], ids=["none", "line", "header"])
def test_a_head_that_does_not_come_ends_the_connection(impatient, words):
    assert impatient("head").say(words) == b""


def test_a_body_that_does_not_come_is_a_timeout(impatient):
    brief = impatient("body")
    assert brief.say(post("/", 100, "application/pkcs10"), b"x").startswith(b"HTTP/1.1 408 ")
    assert brief.say(post("/v1/certificate", 100, "application/json"), b"{").startswith(b"HTTP/1.1 408 ")


def test_what_comes_in_time_is_answered(impatient):
    assert impatient("nothing").say(b"GET / HTTP/1.1\r\n", b"Host: localhost\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("impatient", ["tls"], indirect=True)
def test_a_tls_handshake_that_does_not_come_ends_the_connection(impatient):
    with socket.create_connection(impatient("handshake").address, timeout=120) as silent:
        assert head_of(silent) == b""
