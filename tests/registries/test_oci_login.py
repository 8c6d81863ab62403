"""Where logins are found, and how a registry asks for them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import RegistryError
from enarx_registries.oci_login import Challenge, Login, challenges, find

HOST = "registry.example:5000"


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, record: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def helper(place: Path, name: str, script: str) -> None:
    place.mkdir(exist_ok=True)
    (place / f"docker-credential-{name}").write_text(f"#!/bin/sh\n{script}\n")
    (place / f"docker-credential-{name}").chmod(0o755)


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture
def path_of_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place


def test_nobody_who_has_not_logged_in_has_a_login() -> None:
    assert find(HOST, "team/echo") is None


@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("REGISTRY_AUTH_FILE", "named.json", "named.json"),
        ("DOCKER_CONFIG", "docker", "docker/config.json"),
        ("UNUSED", "", ".docker/config.json"),
        ("XDG_RUNTIME_DIR", "run", "run/containers/auth.json"),
        ("XDG_CONFIG_HOME", "config", "config/containers/auth.json"),
        ("UNUSED", "", ".config/containers/auth.json"),
    ],
)
def test_a_login_is_found_where_docker_oras_and_podman_keep_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str
) -> None:
    monkeypatch.setenv(variable, str(home / value))
    write(home / path, {"auths": {HOST: auth("ann", "s3cret:with:colons")}})
    assert find(HOST, "team/echo") == Login("ann", "s3cret:with:colons")
    assert find("other.example", "team/echo") is None


@pytest.mark.parametrize("key", [f"https://{HOST}", f"https://{HOST}/v2/", f"{HOST}/team", f"{HOST}/team/echo"])
def test_a_registry_may_be_named_in_each_way_that_tools_write(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: auth("ann", "x")}})
    assert find(HOST, "team/echo") == Login("ann", "x", scheme="https" if "://" in key else "")


def test_the_most_exact_name_counts(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {HOST: auth("a", "x"), f"{HOST}/team": auth("b", "y")}})
    assert find(HOST, "team/echo") == Login("b", "y")
    assert find(HOST, "other/echo") == Login("a", "x")


def test_docker_hub_has_a_name_of_its_own(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"https://index.docker.io/v1/": auth("ann", "x")}})
    assert find("docker.io", "ann/echo") == Login("ann", "x", scheme="https")


def test_a_helper_is_asked_and_may_answer_with_a_token(home: Path, path_of_helpers: Path) -> None:
    helper(path_of_helpers, "one", f'read server; [ "$server" = {HOST} ] && echo \'{{"Username":"ann","Secret":"x"}}\'')
    helper(path_of_helpers, "two", 'echo \'{"Username":"<token>","Secret":"t0ken"}\'')
    write(home / ".docker/config.json", {"credHelpers": {HOST: "one"}, "credsStore": "two"})
    assert find(HOST, "team/echo") == Login("ann", "x")
    assert find("other.example", "team/echo") == Login(identity_token="t0ken")


def test_a_helper_that_knows_nothing_leaves_the_other_files(home: Path, path_of_helpers: Path) -> None:
    helper(path_of_helpers, "one", "echo 'credentials not found in native keychain'; exit 1")
    write(home / ".docker/config.json", {"credsStore": "one", "auths": {HOST: {}}})
    write(home / ".config/containers/auth.json", {"auths": {HOST: auth("ann", "x")}})
    assert find(HOST, "team/echo") == Login("ann", "x")


@pytest.mark.parametrize(
    ("name", "script", "message"),
    [
        ("locked", "echo 'the store is locked'; exit 1", "docker-credential-locked failed: 'the store is locked'"),
        ("noise", "echo nonsense", "docker-credential-noise answered with what is no login"),
        ("../evil", "", "is not the name of a credential helper"),
    ],
)
def test_a_helper_that_fails_is_named(home: Path, path_of_helpers: Path, name: str, script: str, message: str) -> None:
    if script:
        helper(path_of_helpers, name, script)
    write(home / ".docker/config.json", {"credsStore": name})
    with pytest.raises(RegistryError, match=message):
        find(HOST, "team/echo")


def test_a_helper_that_is_not_there_is_named(home: Path) -> None:
    write(home / ".docker/config.json", {"credsStore": "absent"})
    with pytest.raises(RegistryError, match="docker-credential-absent is not installed"):
        find(HOST, "team/echo")


@pytest.mark.parametrize("text", ["{", '{"auths": 5}', '{"auths": {"registry.example:5000": {"auth": "%%%"}}}'])
def test_a_damaged_file_of_logins_is_named(home: Path, text: str) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(text)
    with pytest.raises(RegistryError, match=r"config\.json"):
        find(HOST, "team/echo")


def test_a_login_is_not_shown() -> None:
    assert "s3cret" not in repr(Login("ann", "s3cret", "s3cret"))


def test_a_challenge_is_read() -> None:
    header = 'Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push"'
    assert challenges([header, 'Basic realm="x"']) == [
        Challenge(
            "bearer", {"realm": "https://auth.example/token", "service": "r", "scope": "repository:a/b:pull,push"}
        ),
        Challenge("basic", {"realm": "x"}),
    ]


def test_several_challenges_in_one_header_are_each_read() -> None:
    header = (
        r'Basic realm="a, Bearer \"b\"", charset=UTF-8, Negotiate, Bearer realm="https://a.example/token" , scope="x"'
    )
    assert challenges([header]) == [
        Challenge("basic", {"realm": 'a, Bearer "b"', "charset": "UTF-8"}),
        Challenge("negotiate", {}),
        Challenge("bearer", {"realm": "https://a.example/token", "scope": "x"}),
    ]


@given(st.lists(st.text(max_size=200) | st.text('Bb="\\, a', max_size=200), max_size=3))
def test_any_challenge_is_read(headers: list[str]) -> None:
    for challenge in challenges(headers):
        assert challenge.scheme in ",".join(headers).lower()
        assert all(name in ",".join(headers).lower() for name in challenge.parameters)
