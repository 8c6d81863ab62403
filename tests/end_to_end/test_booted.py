"""Another machine whose systemd is a real one: it is deployed to over ssh, a process is killed, and it is rebooted.

The machine is this one's files under a systemd in namespaces of its own (`boot.sh`), with an sshd that makes sessions
of its users as a server's does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.conftest import eventually
from tests.ports import free_port

CGROUPS = Path("/sys/fs/cgroup")
NEEDED = ("unshare", "chroot", "dbus-daemon", "systemctl", "/lib/systemd/systemd", "/usr/sbin/sshd", "ssh-keygen")
PATIENCE = 120.0
ON_BOOT = ("dbus.service", "systemd-logind.service", "systemd-user-sessions.service")

SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile /run/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM yes
StrictModes no
"""
SSHD_UNIT = """\
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -f {folder}/sshd_config
"""
CLIENT = """\
Host there
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
"""
PROGRAM = """\
#!/bin/sh
export PYTHONPATH={python_path} ENARX_DEPLOY_STATE_DIR={folder}/state ENARX_DEPLOY_CACHE_DIR={cache}
exec {python} -m enarx_deploy "$@"
"""


@dataclass
class Machine:
    """The other machine, from outside."""

    folder: Path
    process: subprocess.Popen[str]
    port: int
    cgroups: list[Path] = field(default_factory=list)

    def run(self, command: str) -> str:
        """As root, logged in there."""
        ended = self.ask(command)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        kept = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={self.folder}/connection"]
        words = ["ssh", "-F", str(self.folder / "ssh_config"), "-o", "BatchMode=yes", *kept, "there", command]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def reboot(self) -> None:
        """Returns when it is down."""
        self.ask("systemctl --no-block reboot")
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "down\n"

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        for place in self.cgroups:
            eventually(lambda place=place: removed(place), f"{place} is left", PATIENCE)


def removed(place: Path) -> bool:
    for folder, _, _ in os.walk(place, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not place.exists()


def own_cgroups(name: str) -> list[Path]:
    """A cgroup in each hierarchy that takes our processes, so that what systemd makes is below it and nowhere else."""
    made = []
    for hierarchy in [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else sorted(CGROUPS.iterdir()):
        with contextlib.suppress(OSError):  # a name for others, or one that takes settings first
            (hierarchy / name).mkdir()
            made.append(hierarchy / name)
    return made


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Machine]:
    missing = [word for word in NEEDED if shutil.which(word) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"a machine cannot be booted here: {', '.join(missing) or 'not root'}")
    folder = tmp_path_factory.mktemp("booted")
    port = free_port()
    write(folder, port, shared_cache)
    cgroups = own_cgroups(f"enarx-deploy-{folder.parent.name}-{folder.name}")

    def enter_cgroups() -> None:
        for place in cgroups:
            with contextlib.suppress(OSError):
                (place / "cgroup.procs").write_text(str(os.getpid()))

    # The first process of a namespace of processes takes all others with it.
    words = ["unshare", "--mount", "--cgroup", "--pid", "--mount-proc", "--fork", "--kill-child"]
    words += ["sh", str(Path(__file__).with_name("boot.sh"))]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*words, str(folder), *map(str, shared(folder, shared_cache))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=enter_cgroups,
        )
    made = Machine(folder, process, port, cgroups)
    try:
        eventually(lambda: made.answers() or process.poll() is not None, "it has booted", PATIENCE)
        if process.poll() is not None:
            pytest.skip(f"a machine cannot be booted here: {(folder / 'log').read_text().strip()}")
        made.run("loginctl enable-linger")
        yield made
    finally:
        made.end()


def shared(folder: Path, cache: Path) -> list[Path]:
    """What is in use on both sides, and what is on no disk that the machine has a copy of."""
    disk = Path("/").stat().st_dev
    places = [Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)]
    return [folder, cache, *(place for place in dict.fromkeys(places) if place.stat().st_dev != disk)]


def write(folder: Path, port: int, cache: Path) -> None:
    for place in ("root", "disk", "state"):
        (folder / place).mkdir()
    (folder / "state").chmod(0o700)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    values = {
        "folder": folder,
        "port": port,
        "python": shlex.quote(sys.executable),
        "python_path": shlex.quote(os.environ.get("PYTHONPATH", "")),
        "cache": shlex.quote(str(cache)),
    }
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    for name, text in {"sshd_config": SSHD, "ssh_config": CLIENT, "enarx-deploy": PROGRAM}.items():
        (folder / name).write_text(text.format(**values))
    (folder / "enarx-deploy").chmod(0o755)
    units = folder / "etc/systemd/system"
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(parents=True)
    (units / "far-sshd.service").write_text(SSHD_UNIT.format(**values))
    (wanted / "far-sshd.service").symlink_to("/etc/systemd/system/far-sshd.service")
    for name in ON_BOOT:
        (wanted / name).symlink_to(f"/usr/lib/systemd/system/{name}")


def test_a_service_on_a_machine_with_systemd_outlives_its_session_its_process_and_a_reboot(
    cli: Any, echo_project: Callable[..., Path], machine: Machine
) -> None:
    port = free_port()
    table = '[deploy.prod]\ntarget = "ssh"\nhost = "there"\n[deploy.prod.ssh]\nconfig = "ssh_config"\n'
    project = echo_project("far", extra=f'{table}program = "{machine.folder}/enarx-deploy"\n', port=port)
    (project / "ssh_config").write_text((machine.folder / "ssh_config").read_text())
    ended = cli("-C", str(project), "up", "--target", "prod", "--json", "--yes")
    assert ended.returncode == 0, ended.stderr
    root = json.loads(ended.stdout)["steward"]["root_pem_path"]
    assert echoes(port, root)

    # The session that started it is over, and it is in none: the user's systemd has it.
    keep = json.loads(machine.run(f"{machine.folder}/enarx-deploy keeps --json"))[0]
    cgroups = machine.run(f"cat /proc/{keep['pid']}/cgroup")
    assert "/user@0.service/" in cgroups
    assert "session-" not in cgroups

    installed = json.loads(machine.run(f"{machine.folder}/enarx-deploy service install far --json"))
    assert installed["note"] == ""
    unit = installed["unit"]
    found = status(machine)
    assert (found["enabled"], found["active"]) == ("enabled", "active")

    # Its service process is killed: systemd starts another one, and the Keep has gone on.
    first = main_process(machine, unit)
    machine.run(f"kill -9 {first}")
    eventually(lambda: main_process(machine, unit) not in (0, first), "systemd starts the next one", PATIENCE)
    assert echoes(port, root)
    assert json.loads(machine.run(f"{machine.folder}/enarx-deploy keeps --json"))[0]["pid"] == keep["pid"]

    # The machine is rebooted, and nobody logs in.
    machine.reboot()
    eventually(lambda: echoes(port, root), "the service is back", PATIENCE)
    eventually(lambda: machine.ask("true").returncode == 0, "one can log in, which may come later", PATIENCE)
    after = json.loads(machine.run(f"{machine.folder}/enarx-deploy keeps --json"))[0]
    assert (after["id"], after["state"]) == (keep["id"], "running")

    # What is stopped stays so, and its unit goes.
    program = f"{machine.folder}/enarx-deploy"
    machine.run(f"{program} stop far --grace 0 && {program} service uninstall far")
    assert status(machine)["unit"] == "none"
    assert not echoes(port, root)


def status(machine: Machine) -> dict[str, Any]:
    (said,) = json.loads(machine.run(f"{machine.folder}/enarx-deploy service status far --json"))
    return dict(said)


def main_process(machine: Machine, unit: str) -> int:
    return int(machine.run(f"systemctl --user show --property MainPID --value {unit}"))


def echoes(port: int, root: str) -> bool:
    context = ssl.create_default_context(cafile=root)
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"hello\n")
        return client.recv(6) == b"hello\n"
    return False
