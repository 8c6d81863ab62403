"""`user`, `repo` and the registry commands as a user meets them; and what Enarx's own client test goes through."""

from __future__ import annotations

import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.conftest import Program

from enarx_drawbridge.client.connection import Place, connected
from enarx_drawbridge.client.logins import Logins

from .conftest import ALL_SCOPES

CLIENT = "enarx-deploy-tests"
HELPER = """\
#!/bin/sh
# A credential helper, as Enarx has it: it keeps the token in one file.
case "$1" in
  insert) cat > "$HOME/kept"; echo "$2" > "$HOME/id" ;;
  show) cat "$HOME/kept" ;;
esac
"""


@pytest.fixture
def host(start, provider) -> str:
    """A registry that says by whom one logs in."""
    policy = f'[oidc]\nissuer = "{provider.issuer}"\naudience = "http://127.0.0.1"\nclient_id = "{CLIENT}"\n'
    return start(text=policy).url.removeprefix("http://")


@pytest.fixture
def user(enarx_deploy: Program) -> Program:
    """Somebody with a package."""
    tree = enarx_deploy.directory / "tree"
    tree.mkdir()
    (tree / "main.wasm").write_bytes(b"\0asm\1\0\0\0")
    (tree / "Enarx.toml").write_text('[[files]]\nkind = "stdin"\n')
    return enarx_deploy


def log_in(user: Program, host: str, *words: str, answer: str = "") -> tuple[int, str, str]:
    """Log in, and confirm in what stands for a browser."""
    process = user.start("user", "login", f"drawbridge+http://{host}", *words)
    line = process.stderr.readline()
    if line.startswith("open "):
        httpx.get(line.split()[1] + answer, timeout=120).raise_for_status()
    out, err = process.communicate(timeout=120)
    return process.returncode, out, line + err


def done(user: Program, *words: str) -> dict:
    ended = user(*words, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def refused(user: Program, *words: str) -> str:
    ended = user(*words)
    assert ended.returncode == 1, ended.stdout
    return ended.stderr


def test_from_a_login_to_a_package_that_anybody_can_fetch(host, user):
    assert "you are not logged in" in refused(user, "user", "register", f"{host}/testuser")
    assert log_in(user, host)[0] == 0
    assert "not found" in refused(user, "user", "show", f"{host}/testuser")
    assert done(user, "user", "register", f"{host}/testuser")["new"] is True
    assert done(user, "user", "register", f"{host}/testuser")["new"] is False
    assert "already associated" in refused(user, "user", "register", f"{host}/testuser2")
    assert done(user, "user", "show", f"{host}/testuser") == {"subject": "test|subject"}
    assert "Repository does not exist" in refused(user, "repo", "show", f"{host}/testuser/hello")
    assert done(user, "repo", "register", f"{host}/testuser/hello")["new"] is True
    assert done(user, "repo", "show", f"{host}/testuser/hello") == {"config": {"public": True}, "tags": []}
    assert "has no testuser/hello/_tag/1.0.0" in refused(user, "info", f"{host}/testuser/hello:1.0.0")
    published = done(user, "publish", f"{host}/testuser/hello:1.0.0", "tree")
    assert done(user, "repo", "show", f"{host}/testuser/hello")["tags"] == ["1.0.0"]
    assert done(user, "info", f"{host}/testuser/hello:1.0.0")["package"]["digest"] == published["digest"]
    assert done(user, "user", "logout", host)["logged_out"] is True
    assert done(user, "user", "logout", host)["logged_out"] is False
    fetched = done(user, "fetch", published["reference"], "--into", "got")
    assert (Path(fetched["package"]["root"]) / "main.wasm").read_bytes() == b"\0asm\1\0\0\0"


def test_a_login_is_in_a_file_of_the_users_own(host, user):
    log_in(user, host)
    (kept,) = Path(user.environment["ENARX_DEPLOY_STATE_DIR"]).glob("logins/*.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert json.loads(kept.read_text())["client_id"] == CLIENT
    assert json.loads(kept.read_text())["scheme"] == "http"


def test_a_token_that_has_ended_is_renewed(host, user):
    log_in(user, host)
    (kept,) = Path(user.environment["ENARX_DEPLOY_STATE_DIR"]).glob("logins/*.json")
    login = json.loads(kept.read_text())
    kept.write_text(json.dumps(login | {"expires": 1, "access_token": "ended"}))
    assert done(user, "user", "register", f"{host}/testuser")["new"] is True
    assert json.loads(kept.read_text())["expires"] > 1
    kept.write_text(json.dumps(login | {"expires": 1, "refresh_token": "unheard-of"}))
    assert "has ended" in refused(user, "repo", "register", f"{host}/testuser/hello")


def test_commands_that_renew_a_login_at_once_use_its_refresh_token_once(host, user):
    log_in(user, host)
    kept = Path(user.environment["ENARX_DEPLOY_STATE_DIR"], "logins")
    (file,) = kept.glob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"expires": 1}))
    together = threading.Barrier(6)

    def renew(_number: int) -> str:
        with connected(Place(host, in_clear=True), Logins(kept)) as connection:
            together.wait(60)
            return connection.token()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(renew, range(6)))) == 1


def test_a_login_goes_in_clear_only_where_that_is_asked_for_by_name(host, user):
    ended = user("user", "login", host)
    assert (ended.returncode, "a login would go in clear" in ended.stderr) == (2, True)
    assert f"drawbridge+http://{host}" in ended.stderr
    assert not list(Path(user.environment["ENARX_DEPLOY_STATE_DIR"]).glob("logins/*"))


def test_a_login_that_is_denied_is_refused(host, user):
    status, _, said = log_in(user, host, answer="&deny=1")
    assert status == 1
    assert "access_denied" in said


def test_a_credential_helper_keeps_the_token_and_no_file_does(host, user):
    helper = user.directory / "helper"
    helper.write_text(HELPER)
    helper.chmod(0o700)
    assert log_in(user, host, "--credential-helper", str(helper))[0] == 0
    home = Path(user.environment["HOME"])
    token = (home / "kept").read_text()
    assert (home / "id").read_text() == f"127.0.0.1-{host}\n"
    state = Path(user.environment["ENARX_DEPLOY_STATE_DIR"])
    assert not [path for path in state.rglob("*") if path.is_file() and token in path.read_text(errors="replace")]
    assert done(user, "user", "register", f"{host}/testuser")["new"] is True


def test_a_client_logs_in_with_its_secret_from_the_environment(host, user, provider):
    words = ("user", "login", f"drawbridge+http://{host}", "--oidc-flow", "client", "--oidc-issuer", provider.issuer)
    assert "ENARX_OIDC_CLIENT_SECRET" in user(*words).stderr
    ended = user(*words, env={"ENARX_OIDC_CLIENT_SECRET": "not-so-secret"})
    assert ended.returncode == 0, ended.stderr
    assert done(user, "user", "register", f"{host}/testuser")["new"] is True
    assert user(*words, env={"ENARX_OIDC_CLIENT_SECRET": "wrong"}).returncode == 1


def test_a_registry_does_not_say_to_whom_a_clients_secret_goes(host, user):
    words = ("user", "login", f"drawbridge+http://{host}", "--oidc-flow", "client")
    ended = user(*words, env={"ENARX_OIDC_CLIENT_SECRET": "not-so-secret"})
    assert ended.returncode == 2
    assert "needs --oidc-issuer" in ended.stderr


def test_a_token_from_the_environment_goes_before_any_login(host, user, provider):
    token = provider.token(aud="http://127.0.0.1", scope=ALL_SCOPES)
    given = {"ENARX_INSECURE_AUTH_TOKEN": token}
    ended = user("user", "register", "testuser", "--host", f"drawbridge+http://{host}", env=given)
    assert ended.returncode == 0, ended.stderr
    assert "bad-token" not in refused_with(user, host, "bad-token")


def refused_with(user: Program, host: str, token: str) -> str:
    given = {"ENARX_INSECURE_AUTH_TOKEN": token, "ENARX_REGISTRY": f"drawbridge+http://{host}"}
    ended = user("user", "show", f"{host}/testuser", env=given)
    assert ended.returncode == 1
    return ended.stdout + ended.stderr


def test_a_registry_does_not_get_a_token_for_another(start, user, provider):
    policy = f'[oidc]\nissuer = "{provider.issuer}"\naudience = "https://bank.example.org"\nclient_id = "{CLIENT}"\n'
    host = start(text=policy).url.removeprefix("http://")
    assert "which is not it" in refused(user, "user", "login", f"drawbridge+http://{host}")
    assert log_in(user, host, "--oidc-audience", "https://bank.example.org")[0] == 0


def test_a_name_without_a_host_needs_one(user):
    ended = user("repo", "show", "testuser/hello")
    assert ended.returncode == 2
    assert "none is built in" in ended.stderr
    assert user("user", "login").returncode == 2


def test_the_registry_starts_from_nothing_and_says_where_it_is(user):
    policy = Path(done(user, "drawbridge", "--init")["policy_path"])
    assert policy.read_text().startswith("# Policy")
    process = user.start("drawbridge", "--listen", "127.0.0.1:0", "--json")
    lines = [process.stdout.readline()]
    while lines[-1].rstrip() != "}":
        lines.append(process.stdout.readline())
    running = json.loads("".join(lines))
    assert httpx.get(f"{running['url']}/health", timeout=120).status_code == 200
    process.terminate()
    assert process.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("[oidc]\nisuer = 'https://a'\n", "drawbridge.toml:1: Object contains unknown field `isuer`"),
        ("[quota]\nbytes = -1\n", "drawbridge.toml:2: Expected `int` >= 0"),
        ("[oidc]\nissuer = 'http://auth.example.org'\naudience = 'a'\n", "drawbridge.toml:2: an issuer is an https://"),
        ("[keeps]\nroots = 'gone.pem'\ntrust_domain = 'a'\n", "gone.pem: No such file"),
        ("quota = [", "not TOML"),
    ],
)
def test_a_policy_of_which_anything_is_wrong_is_told_with_its_line(user, policy, said):
    store = user.directory / "store"
    store.mkdir(mode=0o700)
    (store / "drawbridge.toml").write_text(policy)
    ended = user("drawbridge", "--store", "store", "--listen", "127.0.0.1:0")
    assert ended.returncode == 1
    assert said in ended.stderr


def test_a_policy_that_is_named_has_to_be_there(user):
    ended = user("drawbridge", "--store", "store", "--policy", "gone.toml", "--listen", "127.0.0.1:0")
    assert (ended.returncode, "gone.toml: there is no such file" in ended.stderr) == (1, True), ended.stderr


def test_without_a_policy_it_is_said_that_nobody_can_write(user):
    process = user.start("drawbridge", "--store", "store", "--listen", "127.0.0.1:0")
    said = [process.stdout.readline() for _ in range(3)]
    assert "is not there, so that nobody can write" in said[2]
    process.terminate()
    assert process.wait(timeout=120) == 0


def test_other_machines_are_served_by_tls_unless_it_is_asked_otherwise_by_name(user):
    ended = user("drawbridge", "--store", "store", "--listen", "0.0.0.0:0")
    assert ended.returncode == 2
    assert "--tls-cert" in ended.stderr
