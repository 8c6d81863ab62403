"""The target `ssh`: a real sshd here stands for another machine, with a home and an `enarx-deploy` of its own."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import Program
from tests.end_to_end.conftest import write_echo
from tests.ports import free_port

from enarx_deploy.errors import KeepError

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd here: apt-get install openssh-server")

SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
SetEnv HOME={folder}/home
ForceCommand {folder}/login
"""
"""The shell that runs the command reads nothing of this user's."""
CLIENT = """\
Host there
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
"""
# What a login there comes to: a home that is not this user's, as another machine has one.
LOGIN = """\
#!/bin/sh
export HOME={folder}/home PYTHONPATH={python_path} ENARX_DEPLOY_STATE_DIR={folder}/home/state
export ENARX_DEPLOY_CACHE_DIR={cache}
unset XDG_RUNTIME_DIR
cd "$HOME" && exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
PROGRAM = """\
#!/bin/sh
{before}
exec {python} -m enarx_deploy "$@"
"""


@dataclass
class Machine:
    """The other machine."""

    folder: Path
    port: int

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def arrived(self) -> Path:
        return self.folder / "home" / ".cache" / "enarx-deploy" / "arrived"

    def install(self, before: str = "") -> None:
        """Put `enarx-deploy` where pipx does; `before` is what it does first."""
        program = self.folder / "home" / ".local" / "bin" / "enarx-deploy"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(PROGRAM.format(before=before, python=shlex.quote(sys.executable)))
        program.chmod(0o755)

    def run(self, *words: str) -> str:
        """As somebody who is logged in there."""
        script = shlex.join(["enarx-deploy", *words])
        environment = {"SSH_ORIGINAL_COMMAND": f'PATH="$HOME/.local/bin:$PATH" {script}', "PATH": os.environ["PATH"]}
        ended = subprocess.run([self.folder / "login"], env=environment, capture_output=True, text=True, check=True)
        return ended.stdout


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory, shared_cache, eventually):
    """sshd with its own host key, one authorized key and an unprivileged port."""
    folder = tmp_path_factory.mktemp("there")
    (folder / "home").mkdir()
    port = free_port()
    values = {
        "folder": folder,
        "port": port,
        "user": getpass.getuser(),
        "python_path": shlex.quote(os.environ.get("PYTHONPATH", "")),
        "cache": shlex.quote(str(shared_cache)),
    }
    _key(folder / "host_key")
    _key(folder / "user_key")
    _key(folder / "other_key")
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    (folder / "sshd_config").write_text(SERVER.format(**values))
    (folder / "ssh_config").write_text(CLIENT.format(**values))
    (folder / "login").write_text(LOGIN.format(**values))
    (folder / "login").chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which Debian's sshd wants, and its service makes
    server = subprocess.Popen([SSHD, "-D", "-f", folder / "sshd_config", "-E", folder / "log"])
    made = Machine(folder, port)
    made.install()
    eventually(lambda: _answers(port), "sshd answers")
    yield made
    made.run("stop", "--all", "--grace", "0")
    made.run("steward", "--stop")
    server.terminate()
    server.wait(120)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture
def project(echo_project, machine):
    """Make a project with an environment on the other machine; `config` is what its ssh configuration says besides."""

    def make(name: str = "echo", *, config: str = "", host: str = "there", more: str = "") -> Path:
        table = f'[deploy.prod]\ntarget = "ssh"\nhost = "{host}"\n[deploy.prod.ssh]\nconfig = "ssh_config"\n'
        folder = echo_project(name, extra=f"{table}{more}")
        (folder / "ssh_config").write_text(config + machine.config.read_text())
        return folder

    return make


@pytest.fixture
def up(cli):
    """Run `up --json` in a project, and read its answer."""
    return lambda folder, *words: _up(cli, folder, *words)


def _up(cli, folder: Path, *words: str) -> dict:
    ended = cli("-C", str(folder), "up", "--target", "prod", "--json", "--yes", *words)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@dataclass
class Settled:
    """A project that serves on the other machine, and the program whose state knows of it."""

    cli: Program
    folder: Path

    def up(self, *words: str) -> dict:
        return _up(self.cli, self.folder, *words)

    def keep(self) -> dict:
        return next(one for one in json.loads(self.cli("keeps", "--json").stdout) if one["state"] != "exited")


@pytest.fixture(scope="module")
def settled(module_enarx_deploy, machine, echo_module, shared_cache):
    module_enarx_deploy.environment["ENARX_DEPLOY_CACHE_DIR"] = str(shared_cache)
    table = '[deploy.prod]\ntarget = "ssh"\nhost = "there"\n[deploy.prod.ssh]\nconfig = "ssh_config"\n'
    folder = write_echo(module_enarx_deploy.directory / "settled", echo_module, table)
    (folder / "ssh_config").write_text(machine.config.read_text())
    made = Settled(module_enarx_deploy, folder)
    made.up()
    return made


def refused(cli, folder: Path, *words: str, command: str = "up") -> str:
    ended = cli("-C", str(folder), command, "--target", "prod", *words)
    assert ended.returncode in (1, 2), ended.stdout
    return ended.stderr


def test_a_service_on_another_machine(cli, project, up, machine, read_exactly):
    folder = project("far")
    answer = up(folder, "-v")
    deployment, endpoint = answer["deployment"], answer["endpoints"][0]
    assert (deployment["target"], deployment["backend"], endpoint["host"]) == ("ssh", "nil", "127.0.0.1")
    there = json.loads(machine.run("keeps", "--json"))
    assert [(keep["id"], keep["package"], keep["state"]) for keep in there] == [
        (deployment["id"], deployment["package"], "running")
    ]

    # What serves there has a certificate of the Steward there, whose root has come along.
    root = Path(answer["steward"]["root_pem_path"])
    assert root.is_relative_to(cli.environment["ENARX_DEPLOY_STATE_DIR"])
    verified = cli("verify", f"localhost:{endpoint['port']}", "--root", str(root), "--accept", "nil", "--json")
    assert json.loads(verified.stdout)["ok"], verified.stderr
    with _connected(root, endpoint["port"]) as client:
        client.sendall(b"hello\n")
        assert read_exactly(client, 6) == b"hello\n"

    # It is seen from here, and only the second time nothing is done.
    (keep,) = json.loads(cli("keeps", "--json").stdout)
    assert (keep["id"], keep["target"], keep["host"], keep["state"]) == (deployment["id"], "ssh", "there", "running")
    again = up(folder)
    assert all(stage["skipped"] for stage in again["stages"])
    assert cli("-C", str(folder), "plan", "--target", "prod", "--detailed-exitcode").returncode == 0
    shutil.rmtree(folder / ".enarx")  # as in a job that checked the project out anew
    assert cli("-C", str(folder), "plan", "--target", "prod", "--detailed-exitcode").returncode == 0
    assert up(folder)["deployment"] == deployment

    logs = cli("logs", deployment["id"], "--stream", "host")
    assert (logs.returncode, logs.stderr) == (0, "")
    assert machine.run("logs", deployment["id"], "--stream", "host") == logs.stdout
    renewed = json.loads(cli("renew", deployment["id"], "--json").stdout)
    assert renewed[0]["id"] == deployment["id"]

    (seen,) = json.loads(cli("top", "--json").stdout)
    assert (seen["status"]["id"], seen["status"]["target"]) == (deployment["id"], "ssh")
    assert seen["usage"]["memory"] > 1 << 20
    assert seen["usage"]["cpu_seconds"] > 0
    assert seen["usage"]["connections"] >= 2

    # Another package takes its place, the one before is carried over no second time, and older ones go.
    left_before(machine.arrived / "far", 6)
    changed = up(folder, "--set", 'args=["x"]')
    assert changed["deployment"]["package"] != deployment["package"]
    arrived = {path.name for path in (machine.arrived / "far").iterdir() if "." not in path.name}
    assert len(arrived) == 4
    assert {one["deployment"]["package"].removeprefix("sha256:") for one in (answer, changed)} <= arrived
    carried = cli("-C", str(folder), "up", "--target", "prod", "-v", "--yes")
    assert carried.returncode == 0, carried.stderr
    assert "the package is there already, and whole" in carried.stderr

    stopped = json.loads(cli("-C", str(folder), "stop", "far", "--target", "prod", "--grace", "0", "--json").stdout)
    assert [one["state"] for one in stopped] == ["exited"]
    assert not [keep for keep in json.loads(machine.run("keeps", "--json")) if keep["state"] == "running"]


def left_before(store: Path, count: int) -> None:
    """Packages that arrived long ago."""
    for number in range(count):
        place = store / f"{number:064x}"
        place.mkdir()
        os.utime(place, (number, number))


def _connected(root: Path, port: int) -> ssl.SSLSocket:
    plain = socket.create_connection(("localhost", port), timeout=120)
    return ssl.create_default_context(cafile=root).wrap_socket(plain, server_hostname="localhost")


def test_what_the_machine_refuses_is_told_as_here(cli, project):
    folder = project()
    told = refused(cli, folder, "--set", "deploy.prod.minimum=nil", "--set", "files.echo.port=1", "--backend", "kvm")
    assert "backend 'kvm'" in told
    told = refused(cli, folder, "--set", "files.echo.addr=192.0.2.1")
    assert "enarx-deploy: there: " in told
    assert "192.0.2.1" in told


def test_no_host_is_built_in(cli, project):
    folder = project()
    text = (folder / "Enarx.toml").read_text()
    (folder / "Enarx.toml").write_text(text.replace('host = "there"\n', ""))
    told = refused(cli, folder)
    assert "target 'ssh' needs to know the machine, and none is built in\n  hint: host = " in told


def test_a_host_key_that_is_not_known_is_not_believed(cli, project, machine, tmp_path):
    empty = tmp_path / "known_hosts"
    folder = project(config=f"Host there\n  UserKnownHostsFile {empty}\n")
    told = refused(cli, folder, "echo", command="history")
    assert "ssh to there: Host key verification failed." in told
    assert "hint: compare its key's fingerprint" in told
    assert not empty.exists()


def test_a_host_key_that_has_changed_is_not_believed(cli, project, machine, tmp_path):
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{machine.port} {(machine.folder / 'other_key.pub').read_text()}")
    told = refused(cli, project(config=f"Host there\n  UserKnownHostsFile {known}\n"), "echo", command="history")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in told
    assert "hint: ask who runs it why its key is another" in told


def test_a_key_that_is_not_authorized(cli, project, machine):
    folder = project(config=f"Host there\n  IdentityFile {machine.folder}/other_key\n  IdentitiesOnly yes\n")
    (folder / "ssh_config").write_text(
        (folder / "ssh_config").read_text().replace(f"IdentityFile {machine.folder}/user_key\n", "")
    )
    told = refused(cli, folder, "echo", command="history")
    assert "Permission denied (publickey)" in told
    assert "hint: is your public key in authorized_keys there" in told


def test_nobody_listens(cli, project):
    told = refused(cli, project(config="Host there\n  Port 1\n"), "echo", command="history")
    assert "Connection refused" in told
    assert "hint: is sshd running there, on that port?" in told


def test_the_machine_has_no_enarx_deploy(cli, project):
    told = refused(cli, project(), "--set", "deploy.prod.ssh.program=enarx-elsewhere")
    assert "there has no enarx-elsewhere that can be run" in told
    assert "hint: install it there, such as by `pipx install enarx-deploy`" in told


@pytest.mark.parametrize("word", ["host", "ssh.program", "ssh.config"])
def test_nothing_of_an_environment_is_taken_for_an_option(cli, project, tmp_path, word):
    folder = project()
    told = refused(cli, folder, "--set", f"deploy.prod.{word}=-oProxyCommand=touch {tmp_path}/done")
    assert f"`deploy.prod.{word}` must be " in told
    assert not (tmp_path / "done").exists()


def program(machine: Machine, before: str) -> str:
    """Another program there, which does something before it is `enarx-deploy`."""
    path = machine.folder / "home" / f"enarx-{len(list((machine.folder / 'home').iterdir()))}"
    path.write_text(PROGRAM.format(before=before, python=shlex.quote(sys.executable)))
    path.chmod(0o755)
    return f"deploy.prod.ssh.program={path}"


def test_another_version_there(cli, project, machine):
    old = program(machine, '[ "$1" != --version ] || { echo enarx-deploy 0.0.9; exit; }')
    told = refused(cli, project(), "--set", old)
    assert "there has enarx-deploy 0.0.9, and this is " in told
    assert "hint: have the same on both, such as by `pipx install enarx-deploy==" in told


def test_what_does_not_answer_as_enarx_deploy_does(cli, project, machine):
    noisy = program(machine, '[ "$1" != platform ] || { printf "\\033]0;hello\\007"; exit; }')
    told = refused(cli, project(), "--set", noisy)
    assert "there did not answer as enarx-deploy does" in told
    assert "\x1b" not in told


def test_a_package_that_was_damaged_there_is_carried_over_again(settled, machine):
    package = settled.keep()["package"]
    module = machine.arrived / "settled" / package.removeprefix("sha256:") / "main.wasm"
    module.chmod(0o644)
    module.write_bytes(module.read_bytes()[:-1] + b"\x01")
    ended = settled.cli("-C", str(settled.folder), "up", "--target", "prod", "--force", "-v", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert "carrying " in ended.stderr, ended.stderr
    assert machine.run("package", "verify", str(module.parent), "--allow-unsigned").startswith(package)


def test_what_arrives_and_is_another_package_is_not_deployed(cli, project, machine):
    other = '{"digest": "sha256:00", "root": "", "size": 0, "files": []}'
    swaps = program(machine, f'[ "$2" != unpack ] || {{ cat >/dev/null; echo {shlex.quote(other)}; exit; }}')
    folder = project("swapped")
    told = refused(cli, folder, "--set", swaps)
    assert "there has unpacked sha256:00, not sha256:" in told
    assert "swapped" not in machine.run("keeps", "--json")


@pytest.mark.parametrize(("package", "backend"), [("sha256:00", "nil"), ("${2##*@}", "weak")])
def test_a_machine_that_starts_something_else_is_not_believed(cli, project, machine, package, backend):
    """Such as a Keep of a weaker backend than the one that was asked for."""
    said = {"id": "x", "name": "x", "package": "%s", "backend": backend, "target": "local", "endpoints": []}
    answer = shlex.quote(json.dumps(said | {"created": ""}))
    cheats = program(machine, f'[ "$1" != deploy ] || {{ printf {answer} "{package}"; exit; }}')
    told = refused(cli, project(f"cheated-{backend}"), "--backend", "nil", "--set", cheats)
    assert f" on {backend}, not sha256:" in told
    assert "hint: is the machine sound?" in told


def test_a_machine_that_goes_on_and_on_is_not_waited_for(machine, monkeypatch):
    from enarx_targets import ssh_client

    endless = program(machine, "exec sleep 600").partition("=")[2]
    client = ssh_client.Client(ssh_client.Place("there", str(machine.config), endless))
    assert client.holds("true")  # from here on there is a connection, and a command takes no time to begin
    monkeypatch.setattr(ssh_client, "AT_ONCE", 4.0)
    with pytest.raises(KeepError, match="there did not answer within 4 s"):
        client.version()
    with pytest.raises(KeepError, match="there did not answer within 4 s"):
        list(client.stream(["logs", "x"], within=4.0))
    going_on = endless_ones(machine)
    for pid in going_on:
        os.kill(pid, signal.SIGKILL)
    assert len(going_on) == 2, "the machine goes on, and is not waited for"


def endless_ones(machine: Machine) -> set[int]:
    """The commands there that would still be waited for if this side read to their end."""
    found = subprocess.run(["pgrep", "-f", "^sleep 600$"], capture_output=True, text=True, check=False)
    return {int(pid) for pid in found.stdout.split() if str(machine.folder) in environment_of(int(pid))}


def environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""


def test_the_machine_gets_no_use_of_the_users_agent_display_or_ports(machine, tmp_path):
    from enarx_targets import ssh_client

    config = tmp_path / "ssh_config"
    lent = "Host there\n  ForwardAgent yes\n  ForwardX11 yes\n  RemoteForward 8099 127.0.0.1:22\n"
    config.write_text(lent + machine.config.read_text())
    words = ["ssh", "-G", "-F", config, *ssh_client._options(), "--", "there"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"forwardagent no", "forwardx11 no", "clearallforwardings yes"} <= set(said)


def test_a_connection_that_is_lost_midway(settled, machine, eventually):
    """The server's process for it is killed while the package is unpacked; later the same command goes on."""
    marker = machine.folder / "unpacking"
    slow = program(machine, f'if [ "$2" = unpack ]; then touch {marker}; sleep 60; fi')
    words = ("-C", str(settled.folder), "up", "--target", "prod", "--yes", "--set", 'args=["lost"]')
    process = settled.cli.start(*words, "--set", slow)
    eventually(marker.exists, "it is being unpacked", 120)
    for child in _sessions(machine):
        os.kill(child, signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the connection to there was lost" in told
    assert "hint: what had begun there may have gone on: `enarx-deploy keeps` says" in told
    assert settled.up("--set", 'args=["lost"]')["deployment"]["target"] == "ssh"


def _sessions(machine: Machine) -> list[int]:
    """The processes of sshd that serve connections."""
    server = int((machine.folder / "sshd.pid").read_text())
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def test_a_machine_that_does_not_answer_is_shown_with_what_was_last_known(settled):
    cli, folder, keep = settled.cli, settled.folder, settled.keep()["id"]
    config = (folder / "ssh_config").read_text()
    (folder / "ssh_config").write_text(f"Host there\n  Port 1\n{config}")
    (known,) = [one for one in json.loads(cli("keeps", "--json").stdout) if one["id"] == keep]
    assert known["state"] == "unknown"
    assert "Connection refused" in known["reason"]
    assert "Connection refused" in cli("-C", str(folder), "keeps", "--target", "prod").stderr
    (folder / "ssh_config").write_text(config)
    assert cli("-C", str(folder), "stop", keep, "--grace", "0").returncode == 0


def test_machines_that_are_deployed_to_at_the_same_time_are_all_remembered(tmp_path, monkeypatch):
    from enarx_targets import ssh
    from enarx_targets.ssh_client import Place

    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path))
    places = [Place(f"host{number}") for number in range(10, 30)]
    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(ssh._remember, places))
    assert ssh._remembered() == places


def test_the_root_that_a_machine_sends_is_kept_where_no_word_of_that_machine_leads(tmp_path, monkeypatch):
    from enarx_deploy.models import EndpointIdentity, Identity
    from enarx_targets.ssh import _with_root

    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path))
    chain = "-----BEGIN CERTIFICATE-----\nleaf\n-----BEGIN CERTIFICATE-----\nroot\n"
    endpoint = EndpointIdentity(endpoint="../../steward/root", certificate_sha256="../x", chain_pem=chain)
    said = Identity(
        issuer="../..",
        steward_url="../..",
        root_pem_path="/etc/passwd",
        not_before="",
        not_after="",
        endpoints=[endpoint],
        appraisal={},
    )
    kept = Path(_with_root(said).root_pem_path)
    assert kept.parent == tmp_path / "ssh" / "roots"
    assert kept.read_text() == "-----BEGIN CERTIFICATE-----\nroot\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ssh"]


def test_what_a_deployment_is_made_of_is_changed_from_here(cli, project, up, machine):
    """Replicas and versions are those of the target `local` there; here they go by the environment."""
    folder = project("many")
    text = (folder / "Enarx.toml").read_text()
    (folder / "Enarx.toml").write_text(text.replace('host = "there"\n', 'host = "there"\nreplicas = 2\n'))
    first = up(folder)["deployment"]["package"]
    assert len(running(machine, "many")) == 2
    assert cli("-C", str(folder), "plan", "--target", "prod", "--detailed-exitcode").returncode == 0

    scaled = cli("-C", str(folder), "scale", "many", "1", "--target", "prod", "--json")
    assert scaled.returncode == 0, scaled.stderr
    assert [keep["host"] for keep in json.loads(scaled.stdout)] == ["there"]
    assert len(running(machine, "many")) == 1
    planned = json.loads(cli("-C", str(folder), "plan", "--target", "prod", "--set", 'args=["x"]', "--json").stdout)
    assert (planned["action"], planned["replicas"], planned["asked"]) == ("replace", 1, 2)

    up(folder, "--set", 'args=["x"]')
    assert len(running(machine, "many")) == 1
    versions = json.loads(cli("history", "many", "--json").stdout)
    assert [version["state"] for version in versions] == ["replaced", "serving"]
    back = cli("rollback", "many", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["package"] == first
    assert {keep["package"] for keep in running(machine, "many")} == {first}
    assert cli("stop", "many", "--grace", "0").returncode == 0


def running(machine: Machine, name: str) -> list[dict]:
    return [
        keep
        for keep in json.loads(machine.run("keeps", "--json"))
        if keep["name"] == name and keep["state"] == "running"
    ]
