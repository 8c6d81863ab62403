"""Secrets of a deployed service: only the workload has them, and without them there is no workload."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

TOKEN = b"token-4be1f90c55d3"
SECRETS = '[[secrets]]\nname = "token"\nenv = "TOKEN"\n'


@pytest.fixture
def policy(cli, tmp_path):
    """The policy of this machine's own Steward, which holds the token: for the package that is named."""
    assert cli("steward", "--init").returncode == 0
    file = tmp_path / "token"
    file.write_bytes(TOKEN)
    file.chmod(0o600)
    path = Path(cli.environment["ENARX_DEPLOY_STATE_DIR"]) / "steward" / "steward.toml"

    def release_to(package: str) -> None:
        rule = f'[[secret]]\nname = "token"\nfile = "{file}"\nkinds = ["nil"]\npackages = ["{package}"]\n'
        path.write_text(f"{path.read_text()}\n{rule}")

    return release_to


def package(cli, project: Path) -> str:
    made = cli("package", "--json", "-C", str(project))
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)["digest"]


def test_the_secret_is_on_no_disk_and_in_no_process_but_the_keep(cli, up, echo_project, policy, tmp_path) -> None:
    project = echo_project(extra=SECRETS)
    policy(package(cli, project))
    service = up(project)
    assert service.echoes()
    seen = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert service.state / "host.log" in seen
    assert [path for path in seen if TOKEN in path.read_bytes()] == [tmp_path / "token"]
    for process in Path("/proc").glob("[0-9]*"):
        for file in ("cmdline", "environ"):
            try:
                assert TOKEN not in (process / file).read_bytes(), process
            except OSError:
                continue  # it has ended
    assert "released to the Keep: token" in (service.state / "host.log").read_text()
    logged = cli("steward", "log", "show", "--json")
    assert [entry["body"]["decision"] for entry in json.loads(logged.stdout)] == ["issued", "released"]
    assert "released" in cli("steward", "log", "show").stdout


def test_a_keep_without_its_secret_does_not_start_and_says_why(cli, echo_project, policy) -> None:
    project = echo_project(extra=SECRETS)
    policy("sha256:" + "00" * 32)
    refused = cli("up", "-C", str(project))
    assert refused.returncode == 3
    assert "refused the evidence: secret.granted" in refused.stderr
    assert "[[secret]]" in refused.stderr
    (keep,) = json.loads(cli("keeps", "--json").stdout)
    assert keep["state"] == "failed"
    assert keep["reason"].startswith("the secrets token are not released: ")


def test_dev_serves_a_project_with_a_secret_that_its_steward_releases(cli, echo_project, policy) -> None:
    project = echo_project(extra=SECRETS)
    policy(package(cli, project))
    developing = cli.start("dev", "--json", "-C", str(project))
    event = json.loads(developing.stdout.readline())
    assert event["event"] == "serving", event
    logged = cli("steward", "log", "show", "--json")
    assert [entry["body"]["decision"] for entry in json.loads(logged.stdout)] == ["issued", "released"]
    developing.send_signal(signal.SIGINT)
    assert developing.wait(120) == 130
