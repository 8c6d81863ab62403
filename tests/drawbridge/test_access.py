"""Who may read and write what: tokens of every wrong kind, other users, and Keeps by their certificates."""

from __future__ import annotations

import base64
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_drawbridge import policy as policies
from enarx_drawbridge.errors import Forbidden
from enarx_drawbridge.keeps import package_of
from enarx_drawbridge.reading import ENTRY_TYPE

from .conftest import ALL_SCOPES, NOW, WASM, StewardInMiniature, make_package

SECRET = make_package({"main.wasm": WASM, "Enarx.toml": b"# a secret\n"})
WHERE = "testuser/secret/_tag/1.0.0"
ANOTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
USER = b'{"subject":"test|subject"}'


@pytest.fixture(scope="module")
def published(owner):
    """The owner, with a package in the private repository."""
    assert owner.publish(SECRET, "1.0.0", "testuser/secret")[-1].status_code == 201
    return owner


@pytest.mark.parametrize(
    "change",
    [
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"iat": 2**40},
        {"aud": "https://other.example.org"},
        {"aud": None},
        {"iss": "https://other.example.org"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"nbf": 2**40},
        {"scope": None},
        {"scope": ""},
        {"scope": ["manage:drawbridge_users"]},
        {"scope": "manage:drawbridge_tags openid"},
        {"scope": "read:drawbridge_users"},
        {"kid": "unheard-of"},
        {"key": ANOTHER_KEY},
        {"alg": "HS256", "key": "0" * 64},
        {"alg": "RS512"},
    ],
    ids=lambda change: str(change) if ANOTHER_KEY not in change.values() else "another key",
)
def test_a_token_of_which_anything_is_wrong_is_refused(server, provider, change):
    token = provider.token(**change)
    answer = server.client(token).put("newuser", USER, "application/json")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "Bearer a.b.c", "Bearer " + "x" * 20_000])
def test_what_is_no_token_is_refused(server, header):
    answer = server.http.put(
        f"{server.url}/api/v0.1.0/newuser",
        content=USER,
        headers={"Authorization": header, "Content-Type": "application/json"},
    )
    assert answer.status_code == 401


def test_a_token_without_a_signature_is_refused(server, provider):
    _, claims, _ = provider.token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"test"}').decode().rstrip("=")
    token = f"{header}.{claims}."
    assert server.client(token).put("newuser", USER, "application/json").status_code == 401


@pytest.mark.parametrize("scope", ["write:drawbridge_users", "manage:drawbridge_users", ALL_SCOPES])
def test_a_scope_that_is_enough_is_enough(server, owner, provider, scope):
    assert server.client(provider.token(scope=scope)).put("testuser", USER, "application/json").status_code == 200


def test_keys_of_the_issuer_are_not_asked_for_at_every_token_with_an_unknown_key(server, owner, provider):
    before = httpx.get(f"{provider.issuer}/count", timeout=120).json()["jwks"]
    for number in range(20):
        server.client(provider.token(kid=f"unheard-of-{number}")).get("testuser")
    assert httpx.get(f"{provider.issuer}/count", timeout=120).json()["jwks"] - before <= 1


@pytest.mark.parametrize("path", ["", "/tree", "/tree/main.wasm"])
def test_what_is_private_is_its_owners(published, server, provider, path):
    assert published.get(WHERE + path).status_code == 200
    assert server.client(provider.token(scope="read:drawbridge_repositories")).get(WHERE + path).status_code == 200
    assert server.client(provider.token(scope="read:drawbridge_users")).get(WHERE + path).status_code == 401
    assert server.client().get(WHERE + path).status_code == 401
    assert server.client(provider.token("stranger|1")).get(WHERE + path).status_code == 401


def test_whoever_may_not_see_a_repository_is_not_told_whether_it_is_there(published, server, provider):
    for client in (server.client(), server.client(provider.token("stranger|1"))):
        there, not_there = client.get("testuser/secret/_tag"), client.get("testuser/unheard-of/_tag")
        assert (there.status_code, there.text) == (not_there.status_code, not_there.text) != (200, "")


def test_only_the_owner_writes(owner, server, provider, package):
    where = "testuser/hello/_tag/9.0.0"
    for client in (server.client(), server.client(provider.token("stranger|1"))):
        assert client.put(where, package.tag, ENTRY_TYPE).status_code == 401
        assert client.put(f"{where}/tree", *package.nodes[""]).status_code == 401
        assert client.put("testuser/other", b'{"public":true}', "application/json").status_code == 401


def test_without_an_issuer_nobody_writes_and_everybody_is_told_so(start, provider):
    client = start(text="").client(provider.token())
    answer = client.put("testuser", USER, "application/json")
    assert answer.status_code == 401
    assert "no [oidc]" in answer.text


def test_the_issuer_is_asked_about_tokens_where_the_policy_says_so(start, provider):
    server = start(text=f'[oidc]\nissuer = "{provider.issuer}"\nverify = "userinfo"\n')
    assert server.client("test-token").put("testuser", USER, "application/json").status_code == 201
    bad = server.client("bad-token").put("other", USER, "application/json")
    assert (bad.status_code, bad.text) == (401, "Invalid token provided")
    assert server.client(provider.token()).get("testuser").status_code == 401


def test_an_issuer_that_does_not_answer_is_not_the_callers_fault(start, provider):
    server = start(text='[oidc]\nissuer = "http://127.0.0.1:9"\naudience = "a"\n')
    answer = server.client(provider.token()).put("testuser", USER, "application/json")
    assert answer.status_code == 503
    assert "http://127.0.0.1:9" in answer.text


def test_who_has_no_token_does_not_wait_for_an_issuer_that_does_not_answer(start, provider):
    """Its port is open, and nobody accepts there."""
    silent = socket.create_server(("127.0.0.1", 0))
    issuer = f"http://127.0.0.1:{silent.getsockname()[1]}"
    server = start(text=f'[oidc]\nissuer = "{issuer}"\naudience = "a"\n')
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(server.client(provider.token()).get, "testuser") for _ in range(20)]
        assert server.client().get("testuser/hello/_tag").status_code == 401
        assert not any(one.done() for one in waiting)
        silent.close()
        assert {one.result().status_code for one in waiting} == {503}


def test_no_token_is_in_the_log_or_the_store(start, provider):
    server = start()
    token = provider.token()
    server.client(token).register()
    server.client(provider.token("x|1", exp=1)).get("testuser")
    assert server.end() == 0
    signature = token.rpartition(".")[2]
    assert signature not in server.said
    assert "/api/v0.1.0/testuser/hello" in server.said
    stored = [path.read_bytes() for path in server.store.rglob("*") if path.is_file()]
    assert not [data for data in stored if signature.encode() in data]


def test_what_a_stranger_asks_for_forges_no_line_and_moves_no_cursor_of_the_log(start):
    server = start()
    for path in ("%1b%5b31mred", "user/%1b%5d0;title%07", "%e2%80%ae/x", "a/b/_tag/%0aINFO:%20forged", "%1b/a/b/c/d"):
        assert server.http.get(f"{server.url}/api/v0.1.0/{path}").status_code in (400, 401, 404)
    assert server.http.get(f"{server.url}/%1b%5b2J").status_code == 404
    assert server.end() == 0
    assert "%1B%5B31mred" in server.said
    assert [line for line in server.said.splitlines() if not line.isprintable()] == []
    assert "\nINFO: forged" not in server.said


@pytest.fixture(scope="module")
def with_keeps(tmp_path_factory, policy, steward, provider):
    """A server that believes a Steward's certificates, and a client for each certificate."""
    from .conftest import Client, launch

    place = tmp_path_factory.mktemp("keeps")
    store = place / "store"
    store.mkdir(mode=0o700)
    (store / "steward.pem").write_text(steward.root.pem)
    keeps = '[keeps]\nroots = "steward.pem"\ntrust_domain = "example.org"\n'
    (store / "drawbridge.toml").write_text(policy + keeps)
    server = launch(store, *steward.server_files(place), context=steward.context())
    owner = server.client(provider.token())
    owner.register(repository="secret", public=False)
    assert owner.publish(SECRET, "1.0.0", "testuser/secret")[-1].status_code == 201
    other = make_package({"main.wasm": WASM + b"another"})
    assert owner.publish(other, "2.0.0", "testuser/secret")[-1].status_code == 201

    opened = []

    def shown(certificate: bytes) -> Client:
        opened.append(httpx.Client(verify=steward.context(certificate, place), trust_env=False, timeout=120))
        return Client(opened[-1], server.url)

    yield shown
    for http in opened:
        http.close()
    assert server.end() == 0
    assert "Traceback" not in server.said


def test_a_keep_fetches_the_package_that_its_certificate_names(with_keeps, steward):
    keep = with_keeps(steward.certify(SECRET.root.sha256, hardware=True))
    assert keep.get(WHERE).content == SECRET.tag
    for path, (body, _) in SECRET.nodes.items():
        assert keep.get(f"{WHERE}/tree/{path}").content == body


def test_a_keep_reads_nothing_else_and_is_not_told_what_there_is(with_keeps, steward):
    keep = with_keeps(steward.certify(SECRET.root.sha256, hardware=True))
    there, not_there = keep.get("testuser/secret/_tag/2.0.0/tree"), keep.get("testuser/secret/_tag/3.0.0/tree")
    assert (there.status_code, there.text) == (not_there.status_code, not_there.text)
    assert there.status_code == 403
    assert keep.get("testuser/secret/_tag").status_code == 403
    assert keep.get("nobody/nothing/_tag/1.0.0").status_code == 403
    assert keep.get("testuser/secret").status_code == 401
    assert keep.put(WHERE, SECRET.tag, ENTRY_TYPE).status_code == 401


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"hardware": False}, "without hardware protection"),
        ({"package": None, "hardware": True}, "names no package"),
        ({"hardware": True, "trust_domain": "other.example.org"}, "not one of the trust domain example.org"),
    ],
    ids=str,
)
def test_a_keep_of_which_anything_is_wrong_is_refused_with_the_reason(with_keeps, steward, bad, why):
    keep = with_keeps(steward.certify(**({"package": SECRET.root.sha256} | bad)))
    answer = keep.get(f"{WHERE}/tree")
    assert answer.status_code == 403
    assert why in answer.text


def test_a_certificate_that_ends_while_its_connection_is_up_is_good_until_then(steward):
    pem = steward.certify(SECRET.root.sha256, hardware=True)
    leaf = x509.load_pem_x509_certificates(pem)[0]
    der, keeps = leaf.public_bytes(Encoding.DER), policies.Keeps(roots="", trust_domain="example.org")
    end = leaf.not_valid_after_utc
    assert package_of(der, keeps, end - timedelta(seconds=1)) == SECRET.root.hex
    with pytest.raises(Forbidden, match="has ended"):
        package_of(der, keeps, end)


@pytest.mark.parametrize("der", [b"", b"\x30\x80", b"not a certificate"])
def test_what_is_no_certificate_of_a_keep_is_refused(der):
    with pytest.raises(Forbidden, match="not one of a Keep"):
        package_of(der, policies.Keeps(roots="", trust_domain="example.org"), NOW)


def test_a_certificate_of_another_steward_does_not_get_through_tls(with_keeps):
    stranger = StewardInMiniature().certify(SECRET.root.sha256, hardware=True)
    keep = with_keeps(stranger)
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        keep.get(f"{WHERE}/tree")


def test_keeps_without_protection_are_served_where_the_policy_asks_for_them_by_name(start, steward, provider, tmp_path):
    (tmp_path / "steward.pem").write_text(steward.root.pem)
    keeps = f'[keeps]\nroots = "{tmp_path / "steward.pem"}"\ntrust_domain = "example.org"\nunprotected = true\n'
    server = start(*steward.server_files(tmp_path), more=keeps, context=steward.context())
    owner = server.client(provider.token())
    owner.register(repository="secret", public=False)
    owner.publish(SECRET, "1.0.0", "testuser/secret")
    context = steward.context(steward.certify(SECRET.root.sha256), tmp_path)
    with httpx.Client(verify=context, trust_env=False, timeout=120) as http:
        assert http.get(f"{server.url}/api/v0.1.0/{WHERE}/tree/main.wasm").content == WASM


def test_keeps_need_tls(start, tmp_path, steward):
    (tmp_path / "steward.pem").write_text(steward.root.pem)
    keeps = f'[keeps]\nroots = "{tmp_path / "steward.pem"}"\ntrust_domain = "example.org"\n'
    with pytest.raises(AssertionError, match="--tls-cert and --tls-key"):
        start(more=keeps)


def test_a_registry_can_have_private_repositories_alone(start, provider):
    client = start(more="[repositories]\npublic = false\n").client(provider.token())
    client.put("testuser", USER, "application/json")
    assert client.put("testuser/open", b'{"public":true}', "application/json").status_code == 403
    assert client.put("testuser/open", b'{"public":false}', "application/json").status_code == 201
