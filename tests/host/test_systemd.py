"""The unit of a deployment: systemd itself says whether it is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from enarx_deploy.errors import UsageError
from enarx_deploy.host.systemd import Unit, installed


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "a state"))
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("scope", ["user", "system"])
@pytest.mark.parametrize("name", ["my-echo", 'odd "name" of 50% $HOME \\ and more'], ids=["plain", "odd"])
def test_systemd_takes_it(tmp_path, scope, name):
    unit = Unit(name, scope)
    path = tmp_path / unit.unit
    path.write_text(unit.text())
    words = ["systemd-analyze", "verify", *(["--user"] if scope == "user" else []), str(path)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_systemd_would_expand_is_escaped():
    text = Unit('"50%" $HOME', "user").text()
    assert '"run" "\\"50%%\\" $$HOME"' in text
    assert 'Environment="ENARX_DEPLOY_STATE_DIR=' in text


def test_the_unit_of_the_machine_may_write_to_its_state_and_cache_alone(tmp_path):
    text = Unit("echo", "system").text()
    assert "ProtectSystem=strict" in text
    assert f'ReadWritePaths="{tmp_path / "a state"}" "{tmp_path / "cache"}"' in text


def test_a_name_that_breaks_lines_is_refused():
    with pytest.raises(UsageError, match="cannot stand in a unit"):
        Unit("a\nExecStart=/bin/false", "user").text()


def test_a_place_that_breaks_lines_is_refused(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/a\nExecStart=/bin/false")
    with pytest.raises(UsageError, match="PYTHONPATH of the environment cannot stand in a unit"):
        Unit("echo", "user").text()


def test_what_is_not_installed_cannot_be_removed():
    assert installed("echo") is None
    with pytest.raises(UsageError, match="has no user unit"):
        Unit("echo", "user").uninstall()


def test_units_of_like_names_are_told_apart():
    assert Unit("a/b", "user").unit != Unit("a_b", "user").unit
    assert Path(Unit("a/b", "user").unit).name == Unit("a/b", "user").unit
