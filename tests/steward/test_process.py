"""The Steward as a process: alone in the foreground, one for all in the background, ended, killed, started again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from tests.end_to_end.conftest import eventually, refuses

from enarx_service.connections import BoundedConnection
from enarx_steward import background
from enarx_steward.record import find

ENSURE = (
    "import sys, pathlib; from enarx_steward import background; print(background.ensure(pathlib.Path(sys.argv[1])).pid)"
)


@pytest.fixture
def own(tmp_path):
    """The directory of a user's own Steward; whatever runs from it is ended."""
    directory = tmp_path / "own"
    yield directory
    background.stop(directory)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_sigterm_and_sigint_end_it_in_good_order(start):
    for number in (signal.SIGTERM, signal.SIGINT):
        running = start()
        running.process.send_signal(number)
        out, err = running.process.communicate(timeout=120)
        assert running.process.returncode == 0
        assert "Traceback" not in out + err


def test_a_request_under_way_is_answered_before_the_end(start, keep):
    running, request = start(), keep.request()
    host, _, port = running.client.url.removeprefix("http://").rpartition(":")
    head = (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/pkcs10\r\n"
        f"Content-Length: {len(request)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # it reads the body
        connection.sendall(request[:-1])
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(int(port)), "nobody new is let in")
        assert running.process.poll() is None
        connection.sendall(request[-1:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    running.process.communicate(timeout=120)
    assert running.process.returncode == 0


@pytest.mark.parametrize("path", ["/v1/nonce", "/"])
def test_a_request_of_two_lengths_is_refused_and_no_other_is_read_after_it(start, path):
    host, _, port = start().client.url.removeprefix("http://").rpartition(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
    lengths = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    smuggled = f"GET /v1/info HTTP/1.1\r\nHost: {host}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall((head + lengths + smuggled).encode())
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1") == 1


def test_it_listens_on_the_loopback_interface_alone(start):
    port = int(start().client.url.rpartition(":")[2])
    for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as elsewhere:  # free there, so nothing listens on every address
            elsewhere.bind((address, port))


def test_an_address_of_ipv6(start, keep):
    steward = start("--listen", "[::1]:0").client
    assert steward.url.startswith("http://[::1]:")
    assert len(steward.certify(keep)) == 3


@pytest.mark.parametrize("listen", ["3000", "localhost", "example.org:1", "127.0.0.1:x", "127.0.0.1:65536", ":1", ""])
def test_a_place_to_listen_that_is_none(run, listen):
    ended = run(f"--listen={listen}") if listen else run("--listen", ":")
    assert ended.returncode == 1
    assert "is not an IP address and a port" in ended.stderr


def test_listening_for_other_machines_needs_a_name_for_them(run, start, http, state):
    ended = run("--listen", "0.0.0.0:0")
    assert ended.returncode == 1
    assert "[ca] audience" in ended.stderr
    text = (state / "steward.toml").read_text().replace("[ca]", '[ca]\naudience = "https://steward.example.org"')
    running = start("--listen", "0.0.0.0:0", "--insecure-http", policy=text)
    assert running.client.audience == "https://steward.example.org"
    assert http.get(running.client.url, headers={"Host": "steward.example.org"}).status_code == 200


def test_a_port_that_is_taken_is_said_so(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--listen", f"127.0.0.1:{port}")
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in ended.stderr


def test_killed_and_started_again_it_has_its_root_and_its_port(start, keep):
    first = start()
    root = first.client.info()["root_pem"]
    first.process.kill()
    first.process.communicate()
    assert find(first.state) is None
    second = start()
    assert second.client.url == first.client.url
    assert second.client.info()["root_pem"] == root
    assert len(second.client.certify(keep)) == 3


def test_a_port_that_another_took_meanwhile_is_left_to_it(start):
    first = start()
    url = first.client.url
    assert first.end() == 0
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert start().client.url != url


def test_of_two_from_one_directory_the_second_is_refused(start, run):
    running = start()
    ended = run()
    assert ended.returncode == 1
    assert f"a Steward is running from {running.state} at {running.client.url}" in ended.stderr
    assert running.client.info()


def test_in_the_background_it_is_started_once_and_found_again(own):
    first = background.ensure(own)
    assert find(own) == first
    assert background.ensure(own) == first
    assert alive(first.pid)
    assert (own / "steward.toml").read_text().count("[nil]") == 1


def test_many_that_start_it_at_once_get_the_same_one(own):
    def ensure(_: int) -> str:
        ended = subprocess.run([sys.executable, "-c", ENSURE, str(own)], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    with ThreadPoolExecutor(8) as pool:
        pids = set(pool.map(ensure, range(8)))
    assert pids == {f"{find(own).pid}\n"}
    assert (own / "steward.log").read_text().count("Steward at") == 1


def test_it_outlives_what_started_it_and_its_session(own):
    shell = subprocess.run([sys.executable, "-c", ENSURE, str(own)], capture_output=True, text=True, check=True)
    pid = int(shell.stdout)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) not in (os.getsid(0), pid)  # a session of its own, which it does not lead
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)
    assert Path(f"/proc/{pid}/fd/1").readlink() == own / "steward.log"


def test_it_is_given_no_token_of_the_environment(own, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    pid = background.ensure(own).pid
    assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_it_imports_nothing_from_the_directory_where_it_is_started(own, tmp_path, monkeypatch):
    for name in ("starlette", "uvicorn", "msgspec", "enarx_steward"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of a stranger was run')")
    monkeypatch.chdir(tmp_path)
    assert background.ensure(own).url


def test_stopping_ends_it_and_says_which(own):
    running = background.ensure(own)
    assert background.stop(own) == running
    assert not alive(running.pid)
    assert find(own) is None
    assert background.stop(own) is None


def test_one_that_does_not_listen_to_reason_is_killed(own, monkeypatch):
    running = background.ensure(own)
    os.kill(running.pid, signal.SIGSTOP)
    monkeypatch.setattr(background, "STOP_SECONDS", 0.3)
    assert background.stop(own) == running
    assert not alive(running.pid)


def test_one_that_was_killed_is_known_as_dead_and_started_again(own):
    first = background.ensure(own)
    os.kill(first.pid, signal.SIGKILL)
    while alive(first.pid):
        time.sleep(0.01)
    assert find(own) is None
    second = background.ensure(own)
    assert second.pid != first.pid
    assert (second.url, second.root_pem_path) == (first.url, first.root_pem_path)


def test_stopping_never_touches_a_process_that_only_has_the_same_id(own):
    background.ensure(own)
    background.stop(own)
    record = json.loads((own / "server.json").read_text())
    with subprocess.Popen(["sleep", "60"]) as bystander:
        (own / "server.json").write_text(json.dumps(record | {"pid": bystander.pid}))
        assert background.stop(own) is None
        assert bystander.poll() is None
        bystander.kill()


def test_a_start_that_fails_says_why(own):
    own.mkdir(mode=0o700)
    (own / "steward.toml").write_text("[ca]\ntrust_domain = 1\n")
    (own / "steward.toml").chmod(0o600)
    with pytest.raises(background.ConfigurationError, match=r"did not start.*trust_domain") as caught:
        background.ensure(own)
    assert "trust_domain" in caught.value.hint


def test_a_log_that_has_grown_is_put_aside(own):
    background.ensure(own)
    background.stop(own)
    (own / "steward.log").write_bytes(b"x" * (background.MAX_LOG + 1))
    background.ensure(own)
    assert (own / "steward.log").stat().st_size < 1000
    assert (own / "steward.log.1").stat().st_size == background.MAX_LOG + 1


def test_the_command_runs_it_in_the_foreground_and_says_where(enarx_deploy):
    process = enarx_deploy.start("steward", "--listen", "127.0.0.1:0")
    lines = [process.stdout.readline() for _ in range(4)]
    assert re.fullmatch(r"Steward +http://127\.0\.0\.1:\d+\n", lines[0])
    root = Path(lines[1].split()[1])
    assert "BEGIN CERTIFICATE" in root.read_text()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "which accepts Keeps without hardware protection (nil)" in err


def test_the_command_in_json(enarx_deploy, http):
    process = enarx_deploy.start("steward", "--json")
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    record = json.loads(text)
    assert http.get(record["url"]).status_code == 200
    assert Path(record["root_pem_path"]).exists()
    assert http.get(record["url"] + "/v1/info").json()["audience"] == record["audience"]
    process.terminate()
    assert process.communicate(timeout=120)[0] == ""
    assert process.returncode == 0


def test_the_command_makes_the_files_and_ends(enarx_deploy, tmp_path):
    state = tmp_path / "new"
    refused = enarx_deploy("steward", "--state", str(state))
    assert (refused.returncode, "there is no policy" in refused.stderr) == (1, True)
    made = json.loads(enarx_deploy("steward", "--init", "--state", str(state), "--json").stdout)
    assert made == {
        "root_pem_path": str(state / "root.pem"),
        "policy_path": str(state / "steward.toml"),
        "policy_written": True,
    }
    again = json.loads(enarx_deploy("steward", "--init", "--state", str(state), "--json").stdout)
    assert again["policy_written"] is False


def test_the_command_ends_the_one_in_the_background(enarx_deploy):
    own = Path(enarx_deploy.environment["ENARX_DEPLOY_STATE_DIR"]) / "steward"
    own.parent.mkdir(mode=0o700)
    running = background.ensure(own)
    ended = enarx_deploy("steward", "--stop")
    assert (ended.returncode, ended.stdout) == (0, f"ended the Steward at {running.url} (process {running.pid})\n")
    assert not alive(running.pid)
    assert enarx_deploy("steward", "--stop").stdout == "no Steward was running\n"


@pytest.mark.parametrize("words", [["--listen", "x"], ["--init", "--stop"]])
def test_the_command_used_wrongly(enarx_deploy, words):
    ended = enarx_deploy("steward", *words)
    assert ended.returncode == 2
    assert "hint:" in ended.stderr


def test_connections_that_say_nothing_or_half_a_request_are_ended():
    """In this process, with a life of a connection that a test can wait for."""

    class Brief(BoundedConnection):
        LIFETIME = timedelta(seconds=1)

    async def slow(scope, receive, send):
        await asyncio.sleep(2.2)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    server = uvicorn.Server(uvicorn.Config(slow, http=Brief, ws="none", lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            for words in (b"", b"GET / HTTP/1.1\r\nHo"):
                with socket.create_connection(listener.getsockname(), timeout=120) as connection:
                    connection.sendall(words)
                    assert connection.recv(1) == b""
            with socket.create_connection(listener.getsockname(), timeout=120) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200 OK" in connection.recv(1000)
        finally:
            server.should_exit = True
            thread.join()


def test_the_steward_imports_nothing_of_the_host_side():
    words = "import sys, enarx_steward.server, enarx_steward.__main__, enarx_steward.background; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout.split()
    ours = {name.partition(".")[0] for name in modules if name.startswith("enarx")}
    assert ours == {
        "enarx_steward",
        "enarx_service",
        "enarx_signing",
        "enarx_attestation",
        "enarx_collateral",
        "enarx_toml",
        "enarx_files",
    }


def test_the_issuers_import_nothing_heavy():
    words = "import sys, enarx_issuers.steward, enarx_issuers.selfsigned; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx", "cryptography", "starlette", "uvicorn", "enarx_steward"} & set(modules)
