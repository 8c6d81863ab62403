"""A CI job's own token, as its CI hands it out, in the place of a login at a registry."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from enarx_registries import oci_login

AUDIENCE = "https://drawbridge.example.org"
SUBJECT = "repo:octo/hello:ref:refs/heads/main"
SCOPES = '["manage:drawbridge_users", "manage:drawbridge_repositories", "manage:drawbridge_tags"]'


class Actions:
    """What GitHub gives a job that may ask for tokens: an address, and a bearer token for it alone."""

    def __init__(self, provider) -> None:
        self.audiences: list[str] = []
        self.answer = lambda audience: json.dumps(
            {"value": provider.token(SUBJECT, scope=None, aud=audience), "count": 1}
        ).encode()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                allowed = self.headers["Authorization"] == "Bearer runner-token"
                audience = self.path.partition("&audience=")[2].replace("%3A", ":").replace("%2F", "/")
                owner.audiences.append(audience)
                body = owner.answer(audience) if allowed and self.path.startswith("/token?api-version=2.0&") else b""
                self.send_response(200 if body else 403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self.environment = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{self._http.server_port}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-token",
            "ENARX_DEPLOY_ID_TOKEN_AUDIENCE": AUDIENCE,
        }

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def actions(provider):
    made = Actions(provider)
    yield made
    made.close()


@pytest.fixture
def registry(start, policy) -> str:
    """A Drawbridge that believes the provider, and lets its tokens do everything though they name no scopes."""
    return start(text=f"{policy}scopes = {SCOPES}\n").url.removeprefix("http://")


@pytest.fixture
def job(enarx_deploy, registry):
    """A job with a package, for whom the registry is named."""
    tree = enarx_deploy.directory / "tree"
    tree.mkdir()
    (tree / "main.wasm").write_bytes(b"\0asm\1\0\0\0")
    (tree / "Enarx.toml").write_text('[[files]]\nkind = "stdin"\n')
    enarx_deploy.environment["ENARX_REGISTRY"] = f"drawbridge+http://{registry}"
    return enarx_deploy


def published(job, env: dict[str, str]) -> str:
    for words in (("user", "register", "octo"), ("repo", "register", "octo/hello")):
        ended = job(*words, env=env)
        assert ended.returncode == 0, ended.stderr
    ended = job("publish", "octo/hello:1.0.0", "tree", env=env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_on_github_a_job_publishes_with_the_token_that_it_asks_for(job, actions):
    assert "octo/hello:1.0.0@sha256:" in published(job, actions.environment)
    assert set(actions.audiences) == {AUDIENCE}


def test_on_gitlab_a_job_publishes_with_the_token_that_it_has(job, provider):
    token = provider.token("project_path:octo/hello:ref_type:branch:ref:main", scope=None)
    assert "octo/hello:1.0.0@sha256:" in published(job, {"ENARX_DEPLOY_ID_TOKEN": token})


def test_without_the_policys_word_a_token_that_names_no_scope_may_nothing(start, policy, job, provider, tmp_path):
    strict = start(text=policy, store=tmp_path / "strict").url.removeprefix("http://")
    env = {
        "ENARX_DEPLOY_ID_TOKEN": provider.token(SUBJECT, scope=None),
        "ENARX_REGISTRY": f"drawbridge+http://{strict}",
    }
    assert job("user", "register", "octo", env=env).returncode == 1


def test_a_job_that_may_not_ask_is_told_what_it_lacks(job, actions):
    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        ended = job("publish", "octo/hello:1.0.0", "tree", env={**actions.environment, name: ""})
        assert ended.returncode == 1
        assert "hint: on GitHub Actions: `permissions: id-token: write`" in ended.stderr
    refused = job(
        "publish", "octo/hello:1.0.0", "tree", env={**actions.environment, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "other"}
    )
    assert "gave no token: status 403" in refused.stderr


@pytest.mark.parametrize("answer", [b"{}", b"not JSON", b"[]", b'{"value": 1}', b"x" * 100_000])
def test_an_answer_that_is_no_token(job, actions, answer):
    actions.answer = lambda _audience: answer
    ended = job("publish", "octo/hello:1.0.0", "tree", env=actions.environment)
    assert ended.returncode == 1
    assert "answered with " in ended.stderr


def test_a_token_is_asked_for_by_https_or_on_this_machine(job, actions):
    env = {**actions.environment, "ACTIONS_ID_TOKEN_REQUEST_URL": "http://192.0.2.1/token?a=b"}
    assert "ACTIONS_ID_TOKEN_REQUEST_URL is not https" in job("publish", "o/h:1.0.0", "tree", env=env).stderr


@pytest.mark.parametrize("named", ["", "other.example.org", "{}0"])
def test_the_token_goes_to_the_registry_alone_that_was_named(job, registry, actions, named):
    env = {**actions.environment, "ENARX_REGISTRY": named.format(registry)}
    ended = job("publish", f"drawbridge+http://{registry}/octo/hello:1.0.0", "tree", env=env)
    assert ended.returncode == 1
    assert actions.audiences == []


def test_it_is_an_identity_token_for_an_oci_registry_that_was_named(monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_ID_TOKEN", "of-the-job")
    monkeypatch.setenv("ENARX_REGISTRY", "oci://registry.example.org")
    found = oci_login.find("registry.example.org", "team/hello")
    assert (found.identity_token, found.scheme) == ("of-the-job", "https")
    monkeypatch.setenv("ENARX_REGISTRY", "oci+http://registry.example.org")
    assert oci_login.find("registry.example.org", "team/hello").scheme == "http"
    monkeypatch.setenv("ENARX_REGISTRY", "oci://other.example.org")
    found = oci_login.find("registry.example.org", "team/hello")
    assert found is None or found.identity_token != "of-the-job"
