"""A new user's first minutes: an empty directory, Python, and what pip installs; no compiler, no checkout."""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # one of the files waits for the other's wheel

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def enarx_deploy_of_the_wheel(tmp_path_factory: pytest.TempPathFactory, wheel: Path, zig_cache: Path) -> Iterator[Run]:
    """`enarx-deploy` of an environment of its own, the only directory on PATH."""
    place = tmp_path_factory.mktemp("newcomer")
    venv.create(place / "venv", with_pip=True)
    programs = place / "venv" / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[c]"]
    subprocess.run(pip, check=True)
    environment = {"PATH": str(programs), "HOME": str(place), "ENARX_DEPLOY_STATE_DIR": str(place / "state")}
    environment["ZIG_GLOBAL_CACHE_DIR"] = str(
        zig_cache
    )  # filling it takes half a minute, and is not what is tried here

    def run(*words: str, folder: str = ".") -> subprocess.CompletedProcess[str]:
        command = [str(programs / "enarx-deploy"), *words]
        return subprocess.run(command, cwd=place / folder, env=environment, capture_output=True, text=True, timeout=300)

    yield run
    run("stop", "--all", "--grace", "0")
    run("steward", "--stop")


def test_new_then_up_then_verify(enarx_deploy_of_the_wheel: Run) -> None:
    """The port is any free one, since the tests may not take a fixed one; all else is as `new` says."""
    run = enarx_deploy_of_the_wheel
    made = run("new", "echo", "my-echo")
    assert made.returncode == 0, made.stderr
    assert [line.strip() for line in made.stdout.splitlines()[-3:-1]] == ["cd my-echo", "enarx-deploy up"]
    up = run("up", "--json", "--set", "files.echo.port=0", folder="my-echo")
    assert up.returncode == 0, up.stderr
    port = json.loads(up.stdout)["endpoints"][0]["port"]
    verified = run("verify", f"localhost:{port}")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for answer in ("from whom", "for how long", "where"):
        assert f"\n{answer}" in verified.stdout


def test_every_template_is_in_the_wheel_and_its_links_are_files(enarx_deploy_of_the_wheel: Run) -> None:
    listed = json.loads(enarx_deploy_of_the_wheel("new", "--list", "--json").stdout)["templates"]
    assert len(listed) > 15
    for template in listed:
        made = enarx_deploy_of_the_wheel("new", template["name"])
        assert made.returncode == 0, made.stderr
    ran = enarx_deploy_of_the_wheel("compile", folder="key-value")
    assert ran.returncode == 0, ran.stderr
