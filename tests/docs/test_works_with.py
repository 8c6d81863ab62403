"""The page of what works is made of what tests ran, and of nothing else."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from enarx_deploy.template import templates

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "works-with.md"
TEST = re.compile(r"\[`([^`]+)`\]\(\.\./(tests/[^)]+)\)")
NOTES = {"works_with", "in_keep"}
"""Fixtures that leave a record."""


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_works_with", ROOT / "docs" / "generate_works_with.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(file: str, function: str) -> set[str]:
    """The fixtures that a test asks for; none where there is no such test."""
    tree = ast.parse((ROOT / file).read_text())
    named = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    return {argument.arg for node in named for argument in node.args.args}


def listed() -> list[tuple[str, str]]:
    """File and name of each test on the page."""
    return [(file, name) for name, file in TEST.findall(PAGE.read_text())]


def test_every_row_is_of_a_test_that_exists_and_leaves_records() -> None:
    assert listed()
    unfounded = [(file, name) for file, name in listed() if not arguments(file, name.partition("[")[0]) & NOTES]
    assert not unfounded, "run: python docs/generate_works_with.py"


def test_every_template_is_on_the_page() -> None:
    on_page = {name.partition("[")[2].rstrip("]") for _, name in listed()}
    assert set(templates()) <= on_page, "run the tests of templates, then docs/generate_works_with.py"


def test_nothing_on_the_page_failed() -> None:
    assert "## Failed" not in PAGE.read_text()


def test_a_test_leaves_what_was_built_and_the_page_shows_it(generator: ModuleType, tmp_path: Path) -> None:
    test = "tests/languages/test_explicit.py::test_it_wins_over_every_toolchain_and_runs_in_a_keep"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout
    (record,) = generator.records(tmp_path / "enarx-deploy" / "works-with")
    assert (record["test"], record["result"], record["toolchain"]) == (test, "passes", "command")
    page = generator.page([record])
    assert "| any (a command of the project) | `command`: " in page
    assert f"[`{test.partition('::')[2]}`](../{test.partition('::')[0]}) |" in page


def test_what_did_not_pass_is_no_row(generator: ModuleType) -> None:
    base = {"test": "tests/x.py::test_x", "day": "2026-01-01", "reason": "no | tool", "toolchain": "c", "version": "1"}
    page = generator.page([base | {"result": "skipped"}, base | {"result": "fails"}])
    assert "| C |" not in page
    assert "## Failed\n\n- [`test_x`](../tests/x.py)\n" in page
    assert "## Not run here\n\n- [`test_x`](../tests/x.py): no / tool\n" in page


def test_records_of_tests_that_are_gone_are_left_out(generator: ModuleType, tmp_path: Path) -> None:
    for number, test in enumerate(["tests/gone.py::test_x", "tests/docs/test_works_with.py::test_gone"]):
        (tmp_path / f"{number}.json").write_text(json.dumps({"test": test, "result": "passes"}))
    assert generator.records(tmp_path) == []
