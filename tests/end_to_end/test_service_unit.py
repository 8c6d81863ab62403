"""`service`: a deployment that starts with the machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed")
def test_a_unit_is_written_checked_enabled_and_removed_while_the_keep_goes_on(cli, service, tmp_path) -> None:
    cli.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    echo = service()
    installed = cli("service", "install", "echo", "--json")
    assert installed.returncode == 0, installed.stderr
    unit = json.loads(installed.stdout)
    assert "service" in Path(unit["path"]).read_text()
    (status,) = json.loads(cli("service", "status", "--json").stdout)
    assert (status["name"], status["unit"], status["enabled"]) == ("echo", unit["unit"], "enabled")
    assert (status["keeps"], status["process"]) == (1, "runs")
    assert echo.echoes()
    assert cli("service", "uninstall", "echo").returncode == 0
    assert not Path(unit["path"]).exists()
    assert echo.echoes()
    shown = cli("service", "status", "echo").stdout.splitlines()
    assert shown[1].split() == ["echo", "1", "1", "runs", "none", "no", "no"]


def test_a_deployment_that_nobody_knows_has_no_unit(cli) -> None:
    refused = cli("service", "install", "nobody")
    assert refused.returncode == 2
    assert "there is no deployment 'nobody'" in refused.stderr
    assert cli("service", "status").stdout == "no deployments\n"


def test_run_in_the_foreground_takes_over_and_its_end_ends_the_keep_until_the_next(cli, service, eventually) -> None:
    echo = service()
    before = echo.host_pid
    first = cli.start("service", "run", "echo")
    eventually(
        lambda: json.loads(cli("service", "status", "--json").stdout)[0]["process"] == "runs", "it looks after it"
    )
    assert echo.echoes()
    assert echo.host_pid == before
    first.terminate()
    assert first.wait(120) == 0
    eventually(lambda: echo.status()["state"] == "exited", "its end ended the Keep")
    cli.start("service", "run", "echo")
    eventually(lambda: echo.status()["state"] == "running" and echo.echoes(), "the next one starts it again")
    assert echo.status()["restarts"] == 1
