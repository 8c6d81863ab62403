"""What goes wrong around a Keep: before it starts, while it runs, and when somebody kills it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest
from tests.end_to_end.conftest import refuses

NEVER = '[deploy.default.local]\nrestart = "never"\n'


def listening(pid: int) -> list[str]:
    """The sockets of a process, as its descriptors name them."""
    return [target for fd in Path(f"/proc/{pid}/fd").iterdir() if (target := str(fd.readlink())).startswith("socket:")]


# Before anything starts


def nothing_is_left(cli) -> None:
    keeps = json.loads(cli("keeps", "--json").stdout)
    assert [keep for keep in keeps if keep["state"] in ("starting", "running", "stopping")] == []


def test_port_in_use(cli, echo_project) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        refused = cli("up", "-C", str(echo_project()), "--set", f"files.echo.port={port}")
    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr
    assert "in use" in refused.stderr
    assert "--set files.echo.port=" in refused.stderr
    nothing_is_left(cli)


def test_port_of_another_keep(cli, up, echo_project) -> None:
    first = up(echo_project())
    refused = cli("up", "-C", str(echo_project("other")), "--set", f"files.echo.port={first.port}")
    assert refused.returncode == 1
    assert "Address already in use: echo listens there" in refused.stderr
    assert "`enarx-deploy stop echo`, or choose another port: --set files.echo.port=PORT" in refused.stderr
    assert [keep["id"] for keep in first.keeps()] == [first.id]
    assert first.echoes()


def test_no_such_address(cli, echo_project) -> None:
    refused = cli("up", "-C", str(echo_project()), "--set", "files.echo.addr='192.0.2.1'")
    assert refused.returncode == 1
    assert "192.0.2.1" in refused.stderr
    assert "hint:" in refused.stderr
    nothing_is_left(cli)


@pytest.mark.skipif(os.geteuid() != 0, reason="lowers its own rights, which needs root")
def test_privileged_port_without_the_privilege() -> None:
    """The check itself, in a process that has no privilege; as root the program could listen there."""
    import subprocess
    import sys

    code = """
import os, socket
socket.getaddrinfo("::", 0)  # what it imports cannot be read later
from enarx_deploy.host import sockets
from enarx_deploy.manifest import parse
from enarx_deploy.errors import KeepError
entry = parse(b'[[files]]\\nkind = "listen"\\nname = "web"\\nprot = "tls"\\n', "Enarx.toml").manifest.files[0]
os.setuid(65534)
try:
    sockets.check_free(entry)
except KeepError as error:
    print(error, error.hint)
"""
    with Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").open() as file:
        if int(file.read()) <= 443:
            pytest.skip("this machine lets everybody listen on port 443")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "port 443" in said
    assert "ermission" in said
    assert "--set files.web.port=" in said


def test_missing_tool(cli, install_plugin) -> None:
    """No toolchain takes the project; nothing is started."""
    (cli.directory / "main.unknown").write_text("")
    (cli.directory / "Enarx.toml").write_text('[build]\ntoolchain = "cobol"\n')
    refused = cli("up")
    assert refused.returncode in (1, 2)
    assert "cobol" in refused.stderr
    assert "Traceback" not in refused.stderr
    nothing_is_left(cli)


@pytest.mark.parametrize("place", ["ENARX_DEPLOY_STATE_DIR", "ENARX_DEPLOY_CACHE_DIR"])
@pytest.mark.parametrize("fault", ["others can write", "is a file", "is a link"])
def test_a_place_that_is_not_ours_alone(cli, echo_project, tmp_path: Path, place: str, fault: str) -> None:
    bad = tmp_path / "bad"
    if fault == "is a file":
        bad.write_text("")
    elif fault == "is a link":
        (tmp_path / "elsewhere").mkdir()
        bad.symlink_to(tmp_path / "elsewhere")
    else:
        bad.mkdir()
        bad.chmod(0o777)
    refused = cli("up", "-C", str(echo_project()), env={place: str(bad)})
    assert refused.returncode in (1, 2)
    assert str(bad) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "hint:" in refused.stderr
    if place == "ENARX_DEPLOY_CACHE_DIR":
        nothing_is_left(cli)


# While it runs


def test_a_killed_host_process_takes_its_keep_along(cli, up, echo_project, eventually) -> None:
    project = echo_project(extra=NEVER)
    echo = up(project)
    keep = echo.keep_pid
    os.kill(echo.host_pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{keep}").exists(), "the Keep died with its host process")
    status = eventually(lambda: (found := echo.status())["state"] == "crashed" and found, "it is known to have crashed")
    assert status["reason"]
    stopped = cli("stop", "--json", echo.id)
    assert stopped.returncode == 0
    again = up(project)
    assert again.id != echo.id
    assert again.echoes()
    assert json.loads((echo.state / "state.json").read_bytes())["id"] == echo.id


def test_a_killed_keep_is_failed_and_says_why(cli, up, echo_project, eventually) -> None:
    project = echo_project(extra=NEVER)
    echo = up(project)
    host = echo.host_pid
    os.kill(echo.keep_pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{host}").exists(), "the host process has ended")
    status = echo.status()
    assert status["state"] == "failed"
    assert "SIGKILL" in status["reason"]
    assert not (echo.state / "control.sock").exists()
    assert cli("stop", echo.id).returncode == 0
    assert up(project).echoes()


def test_a_stopped_keep_process_is_ended_hard(cli, service) -> None:
    """A Keep that does not react, here because it is held by SIGSTOP, is killed when its grace is over."""
    echo = service()
    client = echo.connect()
    os.kill(echo.keep_pid, signal.SIGSTOP)
    stopped = cli("stop", "--json", "--grace", "0.5", echo.id)
    assert stopped.returncode == 0
    assert [keep["state"] for keep in json.loads(stopped.stdout)] == ["exited"]
    client.close()


def test_a_stopped_host_process_is_ended_hard(cli, service, eventually, monkeypatch) -> None:
    echo = service()
    host, keep = echo.host_pid, echo.keep_pid
    os.kill(host, signal.SIGSTOP)
    stopped = cli("stop", "--json", "--grace", "0", echo.id)
    assert stopped.returncode == 0, stopped.stderr
    eventually(lambda: not Path(f"/proc/{keep}").exists(), "the Keep is gone")
    assert [keep["state"] for keep in json.loads(stopped.stdout)] == ["crashed"]


def test_stop_lets_open_connections_end(cli, service, eventually) -> None:
    echo = service()
    client = echo.connect()
    stopping = cli.start("stop", "--grace", "600", echo.id)
    deadline = time.monotonic() + 120
    while echo.status()["state"] != "stopping":
        assert time.monotonic() < deadline
    client.sendall(b"still there?")
    assert client.recv(100) == b"still there?"
    eventually(lambda: refuses(echo.port), "nobody new is let in")
    client.close()
    assert stopping.wait(timeout=120) == 0
    assert echo.status()["state"] == "exited"


def test_a_client_who_does_not_read_holds_up_no_end(cli, service) -> None:
    echo = service()
    client = echo.connect()
    client.settimeout(0.5)
    with contextlib.suppress(TimeoutError, ssl.SSLError):
        client.sendall(bytes(8 << 20))  # until nothing fits any more, because nobody reads the echo
    stopped = cli("stop", "--json", "--grace", "0.5", echo.id)
    assert [keep["state"] for keep in json.loads(stopped.stdout)] == ["exited"]
    client.close()


def test_stop_twice_and_from_two_shells(cli, service) -> None:
    echo = service()
    both = [cli.start("stop", "--grace", "1", echo.id) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert cli("stop", echo.id).returncode == 0
    assert cli("stop", "nothing-of-that-name").returncode == 2


def test_logs_follow_to_the_end(cli, service) -> None:
    echo = service()
    following = cli.start("logs", "-f", "--stream", "stdout", echo.id)
    assert following.stdout.readline().startswith("echo: listening")
    assert following.poll() is None
    assert cli("stop", "--grace", "0", echo.id).returncode == 0
    out, err = following.communicate(timeout=120)
    assert (following.returncode, out, err) == (0, "", "")


def test_the_workloads_exit_status_is_kept(cli, up, program, eventually) -> None:
    import shutil

    project = cli.directory / "ends"
    project.mkdir()
    shutil.copy(program("exit_126"), project / "main.wasm")
    (project / "Enarx.toml").write_text('[deploy.default.local]\nrestart = "never"\n')
    ended = up(project)
    status = eventually(lambda: (found := ended.status())["state"] not in ("starting", "running") and found, "it ends")
    assert (status["state"], status["exit_status"]) == ("exited", 126)


# What a Keep has


def test_a_keep_has_the_block_the_doorbell_and_nothing_else(service) -> None:
    echo = service()
    keep = echo.keep_pid
    with echo.connect():  # whoever is connected is connected to the host process
        assert Path(f"/proc/{keep}/environ").read_bytes() == b""
        descriptors = {int(fd.name): str(fd.readlink()) for fd in Path(f"/proc/{keep}/fd").iterdir()}
    assert listening(keep) == []
    assert descriptors.pop(2) == str(echo.state / "host.log")
    # The doorbell; the block's descriptor is closed once it is mapped.
    assert list(descriptors.values()) == ["anon_inode:[eventfd]"]
    assert str(Path(f"/proc/{keep}/cwd").readlink()) == "/"


def test_what_is_kept_on_disk_is_the_users_alone_and_holds_no_key(service) -> None:
    echo = service()
    state = Path(echo.cli.environment["ENARX_DEPLOY_STATE_DIR"])
    for path in [echo.state, *echo.state.rglob("*")]:
        mode = path.lstat().st_mode & 0o777
        assert mode & 0o077 == 0, (path, oct(mode))
    for folder in (echo.state, echo.project, state / "packages"):
        for path in folder.rglob("*"):
            if path.is_file():
                assert b"PRIVATE KEY" not in path.read_bytes(), path
    for file in ("cmdline", "environ"):
        assert b"PRIVATE" not in Path(f"/proc/{echo.host_pid}/{file}").read_bytes()
