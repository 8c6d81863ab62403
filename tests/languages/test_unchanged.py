"""An unchanged project is recognised without starting its tools, and without what only building and fetching need."""

import subprocess
import sys

import pytest

from enarx_deploy.tools import said

HEAVY = {"httpx", "wasmtime", "cryptography", "rich", "importlib.metadata", "sqlalchemy", "prometheus_client"}


def test_nothing_heavy_is_imported_to_see_that_nothing_has_changed(enarx_deploy):
    (enarx_deploy.directory / "main.wat").write_text('(module (memory (export "memory") 1) (func (export "_start")))')
    assert enarx_deploy("compile").returncode == 0
    script = (
        "import sys; before = {*sys.modules}\n"
        "from enarx_deploy.cli.main import main\n"
        "try: main(['compile'])\n"
        "except SystemExit: pass\n"
        "print(*({*sys.modules} - before))"
    )
    environment = enarx_deploy._environment()
    words = [sys.executable, "-c", script]
    ended = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=enarx_deploy.directory)
    assert " unchanged" in ended.stderr
    assert not HEAVY & set(ended.stdout.split())


@pytest.fixture
def asked(tool_named, tmp_path, monkeypatch):
    """A tool that notes each time it is asked; returns how often it was."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    tool_named("asked", f"echo >> {tmp_path}/times; echo version $WORD")
    return lambda: len((tmp_path / "times").read_text().splitlines())


def test_a_tool_is_asked_once_until_it_changes(asked, tool_named, tmp_path):
    assert [said("asked", "--version") for _ in range(3)] == ["version"] * 3
    assert asked() == 1
    tool_named("asked", "echo version 2")
    assert said("asked", "--version") == "version 2"


def test_a_tool_is_asked_again_when_what_it_depends_on_changes(asked, tmp_path):
    settings = tmp_path / "settings.toml"
    said("asked", depends_on=[settings])
    settings.write_text("x")
    said("asked", depends_on=[settings])
    said("asked", depends_on=[settings])
    assert asked() == 2


def test_an_answer_that_does_not_last_is_asked_for_again(asked):
    for _ in range(2):
        said("asked", lasting=lambda answer: answer != "version")
    assert asked() == 2


def test_a_tool_that_cannot_be_asked_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    assert said("no-such-tool-here", "--version") == ""
    assert said("false") == ""


def test_a_file_that_only_the_build_knew_of_is_an_input_from_then_on(enarx_deploy, zig_cache):
    (enarx_deploy.directory / "main.c").write_text('#include "table.def"\nint main(void) { return TABLE; }\n')
    table = enarx_deploy.directory / "table.def"
    table.write_text("#define TABLE 0\n")
    env = {"ZIG_GLOBAL_CACHE_DIR": str(zig_cache)}
    seen = [" unchanged" in enarx_deploy("compile", env=env).stderr for _ in range(2)]
    table.write_text("#define TABLE 1\n")
    seen.append(" unchanged" in enarx_deploy("compile", env=env).stderr)
    assert seen == [False, True, False]
