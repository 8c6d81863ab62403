"""What hostile clients put: it is refused with a reason, in bounded time and memory, and nothing of it is seen."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn

from enarx_drawbridge import policy as policies
from enarx_drawbridge.app import make_app
from enarx_drawbridge.client.connection import Place, connected
from enarx_drawbridge.client.errors import Unreachable
from enarx_drawbridge.client.logins import Logins
from enarx_drawbridge.database import User
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Entry, directory_json, entry_of
from enarx_drawbridge.reading import ENTRY_TYPE
from enarx_drawbridge.store import Store
from enarx_service.connections import BoundedConnection, configure

from .conftest import WASM, Package, make_package

FILE = "application/octet-stream"
GOOD = entry_of(b"x", FILE)
TREE = "testuser/hello/_tag/0.1.0/tree"
LARGE = make_package({"main.wasm": WASM * 2000})


def plain(entry: Entry, **changes: object) -> dict:
    return {"digest": entry.digest, "length": entry.length, "type": entry.type} | changes


def listing(**entries: object) -> bytes:
    return json.dumps(entries).encode()


HOSTILE = {
    "dot-dot": json.dumps({"..": plain(GOOD)}).encode(),
    "dot": json.dumps({".": plain(GOOD)}).encode(),
    "slash": json.dumps({"a/b": plain(GOOD)}).encode(),
    "empty-name": json.dumps({"": plain(GOOD)}).encode(),
    "nul": json.dumps({"a\0b": plain(GOOD)}).encode(),
    "newline": json.dumps({"a\n": plain(GOOD)}).encode(),
    "not-ascii": json.dumps({"\N{LATIN SMALL LETTER LONG S}": plain(GOOD)}).encode(),
    "name-of-300": json.dumps({"a" * 300: plain(GOOD)}).encode(),
    "case-collision": listing(readme=plain(GOOD), README=plain(GOOD)),
    "name-twice": b'{"a":%s,"a":%s}' % ((json.dumps(plain(GOOD)).encode(),) * 2),
    "key-twice": b'{"a":{"length":1,"length":2,"digest":{},"type":"a/b"}}',
    "no-digest": listing(a={"length": 1, "type": FILE}),
    "no-sha-256": listing(a=plain(GOOD, digest={"sha-512": GOOD.digest["sha-512"]})),
    "short-digest": listing(a=plain(GOOD, digest={"sha-256": "AAAA"})),
    "digest-of-another-alphabet": listing(a=plain(GOOD, digest={"sha-256": "_" * 43 + "="})),
    "digest-not-canonical": listing(a=plain(GOOD, digest={"sha-256": "A" * 42 + "B="})),
    "unknown-algorithm": listing(a=plain(GOOD, digest=GOOD.digest | {"md5": "AAAA"})),
    "negative-length": listing(a=plain(GOOD, length=-1)),
    "length-of-2-to-the-64": listing(a=plain(GOOD, length=2**64)),
    "length-that-is-a-float": listing(a=plain(GOOD, length=1.5)),
    "length-of-5000-digits": b'{"a":{"digest":{},"type":"a/b","length":' + b"9" * 5000 + b"}}",
    "length-that-is-not-a-number": b'{"a":{"digest":{},"type":"a/b","length":NaN}}',
    "type-with-a-newline": listing(a=plain(GOOD, type="text/plain\r\nX-Other: 1")),
    "nested-100000-deep": b"[" * 100_000,
    "entries-nested": b'{"a":' * 50_000,
    "a-list": b"[]",
    "not-utf-8": b'{"\xff":1}',
    "empty": b"",
    "two-documents": b"{}{}",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_listing_of_which_anything_is_wrong_is_refused(owner, body):
    answer = owner.put(TREE, body, DIRECTORY_TYPE)
    assert answer.status_code == 400
    assert answer.text.startswith(("Invalid", "Not a"))


def test_100_000_entries_are_over_the_limit(owner):
    body = directory_json({f"file-{number}": GOOD for number in range(100_000)})
    answer = owner.put(TREE, body, DIRECTORY_TYPE)
    assert (answer.status_code, "at most 1,000,000 bytes" in answer.text) == (413, True)


@pytest.mark.parametrize(("type_", "most"), [("application/wasm", 100_000_000), ("application/toml", 1_000_000)])
def test_a_node_over_its_limit_is_refused_before_it_comes(owner, type_, most):
    entry = Entry(GOOD.digest, most + 1, type_)
    body = directory_json({"main.wasm": entry})
    owner.put(TREE, body, DIRECTORY_TYPE)
    assert said(owner, head_of(f"{TREE}/main.wasm", entry)).startswith("HTTP/1.1 413 ")


def head_of(path: str, entry: Entry, length: str | None = None) -> str:
    """The head of a request that puts a node; `length` stands where its length should."""
    lines = f"Content-Length: {entry.length}\r\n" if length is None else length
    return (
        f"PUT /api/v0.1.0/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {entry.type}\r\n{lines}"
        f"Content-Digest: sha-256=:{entry.digest['sha-256']}:\r\n"
    )


def said(client, head: str, body: bytes = b"", *, ends: bool = False) -> str:
    """The head of the answer to these very bytes; with `ends`, nothing comes after them."""
    host, _, port = client.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=120) as raw:
        raw.sendall(f"{head}Authorization: Bearer {client.token}\r\n\r\n".encode() + body)
        if ends:
            raw.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := raw.recv(65536)):
            answer += more
    return answer.decode()


def test_a_tree_that_lists_itself_over_and_over_is_refused_in_bounded_time(owner):
    """Ten levels of 1,000 names each would be 10 to the 30 files, of a few kilobytes."""
    package = make_package({"main.wasm": WASM})
    nodes, entry = {}, package.root
    path = [f"n{number}" for number in range(10)]
    bodies = [package.nodes[""][0]]
    for _ in range(10):
        body = directory_json({f"n{number}": entry for number in range(1000)})
        bodies.append(body)
        entry = entry_of(body, DIRECTORY_TYPE)
    for depth, body in enumerate(reversed(bodies)):
        nodes["/".join(path[:1] * depth)] = (body, DIRECTORY_TYPE)
    nodes["/".join([*path[:1] * 10, "main.wasm"])] = (WASM, "application/wasm")
    answers = owner.publish(Package(entry, nodes), "0.2.0")
    assert [answer.status_code for answer in answers[:-1]] == [201] * 11 + [404]
    assert (answers[-1].status_code, "10,000 files" in answers[-1].text) == (400, True)
    assert owner.get("testuser/hello/_tag/0.2.0").status_code == 404


def test_of_many_trees_that_are_put_for_one_tag_only_the_latest_are_looked_through(start, provider):
    """Each node that comes is looked for in all of them."""
    client = start().client(provider.token())
    client.register()
    packages = [make_package({"main.wasm": WASM + bytes([number])}) for number in range(40)]
    for package in packages:
        assert client.put(TREE, *package.nodes[""]).status_code in (200, 201)
    answers = [client.put(f"{TREE}/main.wasm", *package.nodes["main.wasm"]) for package in packages]
    assert sorted(answer.status_code for answer in answers) == [201] * 16 + [400] * 24


def test_a_path_has_an_end_to_its_depth(owner):
    assert owner.put(f"{TREE}{'/a' * 34}", b"x", FILE).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["..", "%2e%2e", "a/../b", "a/%2e%2e/%2e%2e", "a%2f..%2f..", "a%00b", "a%0ab", "%ff", "\N{PILE OF POO}", "a//b"],
)
def test_a_path_with_anything_odd_in_it_is_refused(owner, path):
    assert said(owner, head_of(f"{TREE}/{path}", GOOD), b"x").startswith("HTTP/1.1 40")


@pytest.mark.parametrize(
    "tag", ["v1.0.0", "1.0", "latest", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0\n", "-1.0.0"]
)
def test_a_tag_is_a_version(owner, package, tag):
    assert owner.put(f"testuser/hello/_tag/{tag.replace(chr(10), '%0a')}", package.tag, ENTRY_TYPE).status_code == 400


@pytest.mark.parametrize("user", ["a-b", "a.b", "a_b", "a%20b", "_", "a" * 65])
def test_a_users_name_has_letters_and_digits_alone(owner, user):
    assert owner.put(user, b'{"subject":"test|subject"}', "application/json").status_code == 400


def test_a_node_comes_after_the_directory_that_lists_it_and_is_what_that_says(owner):
    where = "testuser/hello/_tag/0.3.0/tree"
    package = make_package({"main.wasm": WASM, "assets/a": b"a", "Enarx.toml": b"# 3"})
    assert owner.put(f"{where}/main.wasm", WASM, "application/wasm").status_code == 404
    assert owner.put(where, *package.nodes[""]).status_code == 201
    assert owner.put(f"{where}/assets/a", b"a", FILE).status_code == 404
    assert owner.put(f"{where}/other", b"a", FILE).status_code == 404
    assert owner.put(f"{where}/main.wasm/inside", b"a", FILE).status_code == 404
    assert owner.put(f"{where}/main.wasm", WASM + b"!", "application/wasm").status_code == 400
    assert owner.put(f"{where}/main.wasm", WASM, FILE).status_code == 400
    assert owner.put(f"{where}/main.wasm", WASM, "application/wasm", Content_Digest=two_digests()).status_code == 400
    assert owner.put(f"{where}/main.wasm", WASM, "application/wasm").status_code in (200, 201)


def two_digests() -> str:
    """The right SHA-256 with another content's SHA-512."""
    right, other = entry_of(WASM, "").digest, entry_of(b"another", "").digest
    return f"sha-256=:{right['sha-256']}:,sha-512=:{other['sha-512']}:"


def test_a_file_that_a_listing_calls_a_directory_makes_no_tree(start, provider):
    """Also when a server starts, and looks what its trees name."""
    server = start()
    client = server.client(provider.token())
    client.register()
    content = b"a file, of which a listing says that it is a directory"
    put = make_package({"main.wasm": WASM, "a": content})
    assert client.publish(put, "1.0.0")[-1].status_code == 201
    lie = entry_of(content, DIRECTORY_TYPE)
    body = directory_json({"a": lie})
    root = entry_of(body, DIRECTORY_TYPE)
    where = "testuser/hello/_tag/2.0.0"
    assert client.put(f"{where}/tree", body, DIRECTORY_TYPE).status_code == 201
    assert client.put(f"{where}/tree/a", content, DIRECTORY_TYPE).status_code == 400
    assert client.put(where, json.dumps(plain(root)).encode(), ENTRY_TYPE).status_code == 400
    assert client.get(where).status_code == 404
    assert server.end() == 0
    again = start().client(provider.token())
    assert again.get("testuser/hello/_tag").json() == ["1.0.0"]
    assert again.get("testuser/hello/_tag/1.0.0/tree/a").content == content


def test_a_listing_that_lies_about_a_length_makes_no_tree(owner):
    package = make_package({"main.wasm": WASM})
    body = directory_json({"main.wasm": Entry(entry_of(WASM, "").digest, 5, "application/wasm")})
    owner.publish(package, "0.4.0")
    where, root = "testuser/hello/_tag/0.4.1", entry_of(body, DIRECTORY_TYPE)
    assert owner.put(f"{where}/tree", body, DIRECTORY_TYPE).status_code == 201
    answer = owner.put(where, json.dumps(plain(root)).encode(), ENTRY_TYPE)
    assert (answer.status_code, "length mismatch" in answer.text) == (400, True)


def test_who_names_anothers_content_does_not_get_it(owner, server, provider):
    secret = make_package({"main.wasm": WASM, "Enarx.toml": b"# somebody's secret"})
    assert owner.publish(secret, "1.0.0", "testuser/secret")[-1].status_code == 201
    thief = server.client(provider.token("thief|1"))
    thief.register("thief", "loot", subject="thief|1")
    where = "thief/loot/_tag/1.0.0"
    assert thief.put(f"{where}/tree", *secret.nodes[""]).status_code == 201
    assert thief.put(where, secret.tag, ENTRY_TYPE).status_code == 201
    assert thief.get(where).status_code == 404
    assert thief.get(f"{where}/tree/Enarx.toml").status_code == 404


@pytest.mark.parametrize("cut", [0, 1, len(WASM) - 1])
def test_a_body_that_is_cut_off_is_no_content(owner, server, cut):
    where = "testuser/hello/_tag/0.5.0/tree"
    package = make_package({"main.wasm": WASM + b"cut"})
    owner.put(where, *package.nodes[""])
    entry = entry_of(WASM + b"cut", "application/wasm")
    answer = said(owner, head_of(f"{where}/main.wasm", entry), WASM[:cut], ends=True)
    assert not answer.startswith("HTTP/1.1 20")
    assert owner.put("testuser/hello/_tag/0.5.0", package.tag, ENTRY_TYPE).status_code == 201
    assert owner.get("testuser/hello/_tag/0.5.0").status_code == 404


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ("Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\n\r\n"),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\n\r\n"),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", b"xy"),
        ("Content-Length: -1\r\n", b""),
        ("Content-Length: 1e3\r\n", b"x"),
        ("Content-Length: 99999999999999999999\r\n", b"x"),
        ("", b""),
    ],
    ids=["chunked", "both", "two", "negative", "exponent", "huge", "none"],
)
def test_the_length_of_a_body_is_given_once_and_is_a_number(owner, lines, body):
    assert said(owner, head_of(TREE, GOOD, lines), body).startswith("HTTP/1.1 400 ")


def test_a_json_web_signature_around_nothing_is_no_tag(owner):
    for payload in ("", "!", base64.urlsafe_b64encode(b"[]").decode(), 5):
        body = json.dumps({"payload": payload}).encode()
        assert owner.put("testuser/hello/_tag/0.6.0", body, "application/jose+json").status_code == 400


def test_a_web_page_cannot_ask_by_a_name_of_its_own(server):
    assert server.http.get(f"{server.url}/health", headers={"Host": "evil.example.org"}).status_code == 421


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_what_a_web_page_asks_is_refused(server, method):
    address = f"{server.url}/api/v0.1.0/testuser/hello"
    answer = server.http.request(method, address, headers={"Origin": "https://evil.example.org"})
    assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (403, None)


def test_an_address_that_asks_too_often_is_told_when_to_come_back(start):
    server = start(more="[limits]\nrequests_per_minute = 1\nburst = 3\n")
    answers = [server.client().get("a/b/_tag") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert server.http.get(f"{server.url}/health").status_code == 200


class Brief(BoundedConnection):
    """Connections with a life that a test can wait for."""

    LIFETIME = timedelta(seconds=1)


@pytest.fixture
def brief(tmp_path, provider):
    """A server in this process, whose patience ends while a test waits, with a package of 8 MB."""
    accepted = policies.Policy(oidc=policies.Oidc(issuer=provider.issuer, audience="a"))
    tmp_path.chmod(0o700)
    store = Store(tmp_path, accepted.quota)
    fill(store)
    config = configure(make_app(store, accepted, patience=timedelta(seconds=1)), most=16, shutdown=timedelta(seconds=1))
    config.http = Brief
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname(), server
        finally:
            server.should_exit = True
            thread.join()
            store.close()


def fill(store: Store) -> None:
    store.put_user(User("a", "s", b"{}"))
    store.put_repository("a", "b", b"{}", public=True)
    repository = store.repository("a", "b")
    for path, (body, type_) in LARGE.nodes.items():
        entry = entry_of(body, type_)
        with store.receiving(repository, entry) as came:
            came.write(body)
            store.put_node(repository, "1.0.0", (path,) if path else (), entry, came)
    store.put_tag(repository, "1.0.0", ENTRY_TYPE, LARGE.tag, LARGE.root)


def downloading(address: tuple[str, int]) -> socket.socket:
    """A connection on which the large module is asked for, that takes little at a time."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
    raw.settimeout(120)
    raw.connect(address)
    raw.sendall(b"GET /api/v0.1.0/a/b/_tag/1.0.0/tree/main.wasm HTTP/1.1\r\nHost: a\r\n\r\n")
    return raw


def test_a_client_that_takes_its_package_slowly_gets_all_of_it(brief, monkeypatch):
    """For several times as long as a connection lives on which nothing is asked."""
    monkeypatch.setattr(Brief, "LIFETIME", timedelta(seconds=3))
    address, _ = brief
    got = b""
    with downloading(address) as raw:
        while len(got) < len(LARGE.nodes["main.wasm"][0]):
            time.sleep(0.15)
            more = raw.recv(131_072)
            assert more, f"it is cut off after {len(got):,} bytes"
            got += more
    assert got.endswith(LARGE.nodes["main.wasm"][0])


def test_a_client_that_takes_nothing_of_its_package_is_cut_off(brief):
    address, server = brief
    with downloading(address):
        while not server.server_state.connections:
            time.sleep(0.01)
        deadline = time.monotonic() + 60
        while server.server_state.connections:
            assert time.monotonic() < deadline, "it is still there"
            time.sleep(0.05)


def test_a_body_that_does_not_come_is_a_timeout(brief, provider, monkeypatch):
    monkeypatch.setattr(Brief, "LIFETIME", timedelta(minutes=2))
    address, _ = brief
    with socket.create_connection(address, timeout=120) as raw:
        lines = f"Authorization: Bearer {provider.token(aud='a')}\r\nContent-Type: application/json\r\n"
        raw.sendall(f"PUT /api/v0.1.0/a HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: 100\r\n\r\n{{".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_the_words_of_a_registry_that_never_ends_are_cut_off():
    sent = 0
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        nonlocal sent
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
            while sent < 64 << 20:
                sent += connection.send(bytes(1 << 16))

    talking = threading.Thread(target=talk)
    talking.start()
    place = Place(f"127.0.0.1:{listener.getsockname()[1]}", in_clear=True)
    with listener, connected(place, Logins(Path())) as connection, pytest.raises(Unreachable, match="more than"):
        list(connection.chunks(f"{TREE}/main.wasm", GOOD))
    talking.join(120)
    assert sent < 32 << 20
