"""To whom the client shows a token: to the registry that it is for, the way it was got, and to nobody else."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import msgspec
import pytest

from enarx_deploy import drawbridge_client
from enarx_deploy.errors import RegistryError
from enarx_drawbridge.client.connection import Connection, Place
from enarx_drawbridge.client.errors import Refused
from enarx_drawbridge.client.logins import Login, Logins
from enarx_registries.drawbridge import Drawbridge

REGISTRY = Drawbridge()
TOKEN = "not-for-you"
LOGIN = Login(issuer="https://auth.example.org", client_id="a", audience="b", access_token=TOKEN)
IN_CLEAR = msgspec.structs.replace(LOGIN, scheme="http")


class Curious:
    """Speaks in clear, wants a login of everybody, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []
        shown = self.shown

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shown.append(self.headers["Authorization"])
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def curious(monkeypatch, tmp_path):
    """One that nobody named as a registry of theirs."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    for name in ("ENARX_REGISTRY", "ENARX_INSECURE_AUTH_TOKEN", "ENARX_CREDENTIAL_HELPER", "ENARX_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    made = Curious()
    yield made
    made.close()


def ask(curious: Curious, tmp_path, scheme: str = "drawbridge") -> RegistryError:
    """The error that fetching from it is, after it was asked."""
    with pytest.raises(RegistryError) as error:
        REGISTRY.fetch(f"{scheme}://{curious.host}/testuser/hello:1.0.0", tmp_path / "got")
    assert curious.shown
    return error.value


@pytest.mark.parametrize("named", ["", "registry.example.org", "oci+http://{}", "drawbridge+http://{}0", "{}/other"])
def test_the_token_of_the_environment_goes_to_the_registry_that_the_user_named_alone(
    curious, tmp_path, monkeypatch, named
):
    monkeypatch.setenv("ENARX_INSECURE_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("ENARX_REGISTRY", named.format(curious.host))
    assert "--host or ENARX_REGISTRY names" in ask(curious, tmp_path).hint
    assert set(curious.shown) == {None}


@pytest.mark.parametrize("named", ["{}", "drawbridge://{}"])
def test_the_token_of_the_environment_goes_in_clear_only_where_that_is_asked_for(curious, tmp_path, monkeypatch, named):
    monkeypatch.setenv("ENARX_INSECURE_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("ENARX_REGISTRY", named.format(curious.host))
    error = ask(curious, tmp_path)
    assert "does not go there in clear" in str(error)
    assert f"ENARX_REGISTRY=drawbridge+http://{curious.host}" in error.hint
    assert set(curious.shown) == {None}
    monkeypatch.setenv("ENARX_REGISTRY", f"drawbridge+http://{curious.host}")
    ask(curious, tmp_path)
    assert curious.shown[-1] == f"Bearer {TOKEN}"


def test_the_host_of_the_command_line_goes_before_that_of_the_environment(curious, enarx_deploy):
    given = {"ENARX_INSECURE_AUTH_TOKEN": TOKEN, "ENARX_REGISTRY": f"drawbridge+http://{curious.host}"}
    words = ("fetch", f"{curious.host}/testuser/hello:1.0.0", "--into", "got")
    assert enarx_deploy(*words, "--host", "registry.example.org", env=given).returncode == 1
    assert set(curious.shown) == {None}
    assert enarx_deploy(*words, env=given).returncode == 1
    assert curious.shown[-1] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("scheme", ["drawbridge", "drawbridge+http"])
def test_a_login_made_by_tls_does_not_go_to_what_took_the_port_and_speaks_in_clear(curious, tmp_path, scheme):
    drawbridge_client.logins().keep(curious.host, LOGIN)
    assert "what answers there now speaks in clear: nothing was sent" in str(ask(curious, tmp_path, scheme))
    assert set(curious.shown) == {None}


def test_a_login_made_in_clear_goes_in_clear_on_this_machine(curious, tmp_path):
    drawbridge_client.logins().keep(curious.host, IN_CLEAR)
    ask(curious, tmp_path)
    assert curious.shown[-1] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("place", [{}, {"token": TOKEN, "token_in_clear": True}], ids=["login", "environment"])
def test_no_token_goes_in_clear_to_another_machine(curious, tmp_path, place):
    """A proxy plays the other machine."""
    host = "registry.example:8080"
    logins = Logins(tmp_path)
    logins.keep(host, IN_CLEAR)
    with httpx.Client(trust_env=False, proxy=f"http://{curious.host}", timeout=120) as client:
        connection = Connection(client, f"http://{host}", Place(host, in_clear=True, **place), logins)
        with pytest.raises(Refused, match="in clear"):
            connection.get("testuser/hello")
    assert curious.shown == [None]


def test_nobody_logs_in_in_clear_to_another_machine(tmp_path):
    with httpx.Client(trust_env=False, timeout=120) as client:
        connection = Connection(
            client, "http://registry.example", Place("registry.example", in_clear=True), Logins(tmp_path)
        )
        with pytest.raises(Refused, match=r"no login goes to registry\.example in clear"):
            connection.require_way_for_a_login(connection.scheme)


def test_a_login_is_for_the_registry_that_it_was_made_for_though_its_file_is_called_as_anothers(tmp_path):
    logins = Logins(tmp_path)
    login = Login(issuer="https://id.example", client_id="c", audience="a", access_token=TOKEN)
    logins.keep("localhost:80", login)
    assert logins.find("localhost:80").access_token == TOKEN
    assert logins.find("localhost_80") is None
    assert logins.forget("localhost_80") is False
    assert logins.forget("localhost:80") is True
    assert logins.find("localhost:80") is None
