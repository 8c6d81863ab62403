"""A third party's plugin, installed beside enarx-deploy into a clean environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[1] / "sample_plugin"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # one of the files waits for the other's wheel


@pytest.fixture(scope="module")
def clean(tmp_path_factory, wheel):
    """`enarx-deploy` from an environment into which the wheel and the sample were installed, and nothing else."""
    place = tmp_path_factory.mktemp("clean")
    venv.create(place / "venv", with_pip=True)
    # A copy, since building leaves its products beside the sources.
    shutil.copytree(SAMPLE, place / "sample")
    python = place / "venv" / "bin" / "python"
    subprocess.run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            str(wheel),
            str(place / "sample"),
        ],
        check=True,
    )
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = kept | {"HOME": str(place), "ENARX_DEPLOY_STATE_DIR": str(place / "state")}

    def run(*words: str, cwd: Path = place) -> subprocess.CompletedProcess[str]:
        program = place / "venv" / "bin" / "enarx-deploy"
        return subprocess.run([str(program), *words], cwd=cwd, env=environment, capture_output=True, text=True)

    return run


def test_it_is_listed_with_all_that_it_brings(clean):
    ended = clean("plugins", "--json")
    assert ended.returncode == 0, ended.stderr
    ours = next(plugin for plugin in json.loads(ended.stdout) if plugin["name"] == "sample")
    assert (ours["distribution"], ours["version"], ours["state"]) == ("enarx-deploy-sample", "0.3.0", "loaded")
    assert ours["providers"] == [
        {"kind": "toolchain", "name": "say"},
        {"kind": "backend", "name": "paper"},
        {"kind": "command", "name": "say"},
    ]


def test_every_built_in_loads_from_the_wheel(clean):
    assert [plugin["error"] for plugin in json.loads(clean("plugins", "--json").stdout) if plugin["error"]] == []


def test_its_toolchain_builds_a_project(clean, tmp_path):
    (tmp_path / "main.say").write_text("hello from the sample\n")
    ended = clean("package", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    module = Path(json.loads(ended.stdout)["root"], "main.wasm").read_bytes()
    assert b"hello from the sample\n" in module


def test_its_program_runs_in_a_keep(clean, tmp_path):
    (tmp_path / "main.say").write_text("hello from the sample\n")
    ended = clean("run", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, "hello from the sample\n"), ended.stderr


def test_its_backend_appears_and_says_what_it_lacks(clean, tmp_path):
    probes = json.loads(clean("platform", "--json").stdout)
    paper = next(probe for probe in probes if probe["backend"] == "paper")
    assert paper["available"] is False
    (tmp_path / "main.say").write_text("x")
    ended = clean("up", "--backend", "cardboard", cwd=tmp_path)
    assert ended.returncode == 1
    assert "backend 'paper' cannot be used on this machine: printer: no printer is connected" in ended.stderr
    assert "hint: connect a printer" in ended.stderr


def test_its_command_appears(clean):
    assert clean("say", "hello", "there").stdout == "hello there\n"
    assert re.search(r"say +Print WORDS\.", clean("--help").stdout)


def test_the_templates_are_there(clean, tmp_path):
    ended = clean("new", "echo", str(tmp_path / "my-echo"))
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "my-echo" / "Enarx.toml").is_file()
