"""Drawbridge's protocol as its clients meet it: users, repositories, tags and trees."""

from __future__ import annotations

import base64
import json

import pytest

from enarx_drawbridge.directory_form import DIRECTORY_TYPE, entry_of
from enarx_drawbridge.reading import ENTRY_TYPE, JWS_TYPE

from .conftest import SUBJECT, WASM, make_package


def test_a_user_is_registered_once_and_shown_to_its_owner(server, provider):
    client = server.client(provider.token("someone|1"))
    body = b'{"subject":"someone|1"}'
    assert client.get("alice").status_code == 401
    assert client.get("alice").text == "User `alice` not found"
    assert client.put("alice", body, "application/json").status_code == 201
    assert client.put("alice", body, "application/json").status_code == 200
    shown = client.get("alice")
    assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, body, "application/json")
    assert client.ask("HEAD", "alice").headers["content-length"] == str(len(body))
    second = client.put("alice2", body, "application/json")
    assert (second.status_code, second.text) == (
        409,
        "User already associated with OpenID Connect subject `someone|1`",
    )


def test_a_name_that_is_taken_stays_with_its_owner(server, provider):
    assert (
        server.client(provider.token("bob|1")).put("bob", b'{"subject":"bob|1"}', "application/json").status_code == 201
    )
    other = server.client(provider.token("mallory|1"))
    assert other.put("bob", b'{"subject":"mallory|1"}', "application/json").status_code == 409
    assert other.put("mallory", b'{"subject":"bob|1"}', "application/json").text == "OpenID Connect subject mismatch"
    assert other.get("bob").text == "You are logged in as `mallory|1`, and not authorized for user `bob`"


def test_a_repository_is_made_and_shown(owner):
    assert owner.get("testuser/unheard-of").status_code == 404
    assert owner.get("testuser/unheard-of").text == "Repository does not exist"
    assert owner.put("testuser/new", b'{"public":true}', "application/json").status_code == 201
    assert owner.put("testuser/new", b'{"public":false}', "application/json").status_code == 409
    assert owner.get("testuser/new").json() == {"public": True}
    assert owner.get("testuser/new/_tag").json() == []
    assert owner.put("testuser/odd", b'{"public":true,"more":1}', "application/json").status_code == 400


def test_a_package_is_published_and_fetched_as_it_was(owner, server, package):
    answers = owner.publish(package, "1.0.0")
    assert [answer.status_code for answer in answers] == [201] * (len(package.nodes) + 1)
    anyone = server.client()
    assert anyone.get("testuser/hello/_tag").json() == ["1.0.0"]
    tag = anyone.get("testuser/hello/_tag/1.0.0")
    assert (tag.content, tag.headers["content-type"]) == (package.tag, ENTRY_TYPE)
    for path, (body, type_) in package.nodes.items():
        got = anyone.get(f"testuser/hello/_tag/1.0.0/tree/{path}")
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, body, type_)
        algorithms = [member.partition("=")[0] for member in got.headers["content-digest"].split(",")]
        assert algorithms == ["sha-224", "sha-256", "sha-384", "sha-512"]
        assert got.headers["content-length"] == str(len(body))
        head = anyone.ask("HEAD", f"testuser/hello/_tag/1.0.0/tree/{path}")
        assert (head.content, head.headers["content-digest"]) == (b"", got.headers["content-digest"])


def test_the_root_is_found_with_and_without_slashes(owner, server, package):
    owner.publish(package, "1.0.1")
    for path in ("tree", "tree/", "tree//"):
        assert server.client().get(f"testuser/hello/_tag/1.0.1/{path}").content == package.nodes[""][0]
    assert server.client().get("testuser/hello/_tag/1.0.1/tree/assets/").content == package.nodes["assets"][0]


def test_a_client_of_enarx_puts_the_tag_first_and_it_is_seen_when_the_tree_is_whole(owner, server):
    package = make_package({"main.wasm": WASM + b"2", "Enarx.toml": b"", "assets/a/b": b"c"})
    where = "testuser/hello/_tag/2.0.0"
    assert owner.put(where, package.tag, ENTRY_TYPE).status_code == 201
    for path, (body, type_) in package.nodes.items():
        assert server.client().get(where).status_code == 404
        assert "2.0.0" not in server.client().get("testuser/hello/_tag").json()
        assert owner.put(f"{where}/tree/{path}", body, type_).status_code in (200, 201)
    assert server.client().get(where).status_code == 200
    assert "2.0.0" in server.client().get("testuser/hello/_tag").json()


def test_a_tag_can_be_a_signed_entry(owner, server, package):
    payload = base64.urlsafe_b64encode(package.tag).decode().rstrip("=")
    body = json.dumps({"payload": payload, "protected": "e30", "signature": "AA"}).encode()
    where = "testuser/hello/_tag/2.1.0"
    for path, (content, type_) in package.nodes.items():
        owner.put(f"{where}/tree/{path}", content, type_)
    assert owner.put(where, body, JWS_TYPE).status_code == 201
    assert server.client().get(where).content == body


def test_a_package_can_be_one_file(owner, server):
    where = "testuser/hello/_tag/3.0.0"
    entry = entry_of(WASM, "application/wasm")
    body = json.dumps({"digest": entry.digest, "length": entry.length, "type": entry.type}).encode()
    assert owner.put(f"{where}/tree", WASM, "application/wasm").status_code in (200, 201)
    assert owner.put(where, body, ENTRY_TYPE).status_code == 201
    assert server.client().get(f"{where}/tree").content == WASM


def test_what_is_published_does_not_change_and_may_be_published_again(owner, package):
    owner.publish(package, "4.0.0")
    again = owner.publish(package, "4.0.0")
    assert [answer.status_code for answer in again] == [200] * len(again)
    other = make_package({"main.wasm": WASM + b"!"})
    assert owner.put("testuser/hello/_tag/4.0.0", other.tag, ENTRY_TYPE).text == "Already exists"
    assert owner.put("testuser/hello/_tag/4.0.0/tree", *other.nodes[""]).status_code == 409
    assert owner.get("testuser/hello/_tag/4.0.0").content == package.tag


def test_a_yanked_tag_is_gone_until_it_is_put_again_and_its_tree_is_still_there(owner, server, provider, package):
    owner.publish(package, "5.0.0")
    stranger = server.client(provider.token("stranger|1"))
    assert stranger.ask("DELETE", "testuser/hello/_tag/5.0.0").status_code == 401
    yanked = owner.ask("DELETE", "testuser/hello/_tag/5.0.0", params={"reason": "it leaks"})
    assert yanked.status_code == 204
    assert "5.0.0" not in server.client().get("testuser/hello/_tag").json()
    got = server.client().get("testuser/hello/_tag/5.0.0")
    assert (got.status_code, got.text) == (410, "Yanked: it leaks")
    assert server.client().get("testuser/hello/_tag/5.0.0/tree").status_code == 200
    assert owner.put("testuser/hello/_tag/5.0.0", package.tag, ENTRY_TYPE).status_code == 201
    assert server.client().get("testuser/hello/_tag/5.0.0").status_code == 200
    assert owner.ask("DELETE", "testuser/hello/_tag/5.0.9").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/api/v0.4.3/testuser", 401),
        ("/api/v0.4.99/testuser", 401),
        ("/api/v0.0.1-alpha/testuser", 401),
        ("/api/v0.5.0/testuser", 501),
        ("/api/v1.0.0/testuser", 501),
        ("/api/v1/testuser", 400),
        ("/api/vx/testuser", 400),
        ("/api/v0.1.0", 404),
        ("/api/v0.1.0/", 404),
        ("/api/v0.1.0/a/b/c", 404),
        ("/api/v0.1.0/a/b/_tag/1.0.0/x", 404),
        ("/elsewhere", 404),
    ],
)
def test_versions_and_routes(server, path, status):
    answer = server.http.get(server.url + path)
    assert answer.status_code == status
    if status == 404:
        assert answer.text == f"Route `{path}` not found"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "a"), ("DELETE", "a"), ("DELETE", "a/b"), ("PUT", "a/b/_tag"), ("DELETE", "a/b/_tag/1.0.0/tree")],
)
def test_methods_that_there_are_not(server, method, path):
    assert server.client().ask(method, path).status_code == 405


@pytest.mark.parametrize(
    "changes",
    [
        {"Content_Digest": None},
        {"Content_Digest": ""},
        {"Content_Digest": "sha-512=:AAAA:"},
        {"Content_Digest": "md5=:rL0Y20zC+Fzt72VPzMSk2A==:"},
        {"Content_Digest": "sha-256=:" + base64.b64encode(bytes(32)).decode() + ":"},
        {"Content_Type": None},
        {"Content_Type": "text/html; charset=utf-8"},
    ],
    ids=lambda changes: str(next(iter(changes.items()))),
)
def test_a_node_must_be_what_its_headers_say(owner, changes):
    assert owner.put("testuser/hello/_tag/6.0.0/tree", WASM, "application/wasm", **changes).status_code == 400
    assert owner.get("testuser/hello/_tag/6.0.0").status_code == 404


def test_digests_are_of_the_very_bytes_that_came(owner, server):
    """A server that parses and writes JSON anew before it compares would refuse these."""
    spaced = make_package({"main.wasm": WASM}, lambda entries: json.dumps(_plain(entries), indent=2).encode())
    assert [answer.status_code for answer in owner.publish(spaced, "7.0.0")][-1] == 201
    assert server.client().get("testuser/hello/_tag/7.0.0/tree").content == spaced.nodes[""][0]


def _plain(entries):
    return {
        name: {"type": e.type, "custom": [1], "length": e.length, "digest": e.digest} for name, e in entries.items()
    }


@pytest.mark.parametrize("header", ["sha-256=:{}:, sha-1=:AAAA:", "SHA-256=:{}:", "sha-1=:AAAA:,\tsha-256=:{}:"])
def test_content_digest_is_also_read_as_rfc_9530_has_it(owner, header):
    digest = entry_of(WASM, "").digest["sha-256"]
    answer = owner.put("testuser/hello/_tag/7.1.0/tree", WASM, "application/wasm", Content_Digest=header.format(digest))
    assert answer.status_code in (200, 201)


@pytest.mark.parametrize("content_type", ["application/json", "", DIRECTORY_TYPE, "text/plain"])
def test_a_tag_is_an_entry_or_a_jws(owner, package, content_type):
    answer = owner.put("testuser/hello/_tag/8.0.0", package.tag, content_type)
    assert (answer.status_code, answer.text) == (400, "Invalid content type")


def test_the_subject_of_the_provider_owns(owner):
    assert owner.get("testuser").json() == {"subject": SUBJECT}
