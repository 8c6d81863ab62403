"""Every template as its user meets it: made by `new`, built by its toolchain, and put to its own tests in a Keep."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy.template import templates

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)  # seconds: the first build of many crates, with others at work on the same machine
@pytest.mark.parametrize("name", templates())
def test_its_own_tests_pass(
    cli: Any, make_project: Callable[[str], Path], works_with: Callable[[str, Path], None], name: str
) -> None:
    project = make_project(name)
    command = [sys.executable, "-m", "unittest"]
    ended = subprocess.run(command, cwd=project, env=cli.environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"^Ran [1-9]\d* tests? in", ended.stderr, re.MULTILINE), ended.stderr
    works_with(f"template `{name}`: its own tests pass", project)


@pytest.mark.parametrize("name", [name for name in templates() if (ROOT / "templates" / name / "main.c").exists()])
def test_what_is_in_c_compiles_without_a_warning(cli: Any, make_project: Callable[[str], Path], name: str) -> None:
    strict = ("--set", 'build.args=["-Wall", "-Wextra", "-Wpedantic", "-Werror"]')
    ended = cli("compile", *strict, cwd=make_project(name))
    assert ended.returncode == 0, ended.stderr
