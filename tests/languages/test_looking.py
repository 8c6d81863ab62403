"""Looking for the tools of a project that nobody has read yet runs nothing of it."""

import os
import shutil
from pathlib import Path

import pytest

from enarx_deploy import tools
from enarx_languages import rust

PACKAGES = {
    "asc": "assemblyscript",
    "esbuild": "esbuild",
    "wasm-merge": "binaryen",
    "wasm-opt": "binaryen",
    "wizer": "@bytecodealliance/wizer",
}
DESCRIPTION = '{"version": "7.6.5-rc.1"}'


def bring(root: Path, name: str, description: str = DESCRIPTION) -> Path:
    """Give a project a program of npm; the file that is there once it has run."""
    ran = root.with_name("ran")
    program = root / "node_modules" / ".bin" / name
    described = root / "node_modules" / PACKAGES[name] / "package.json"
    for path in (program, described):
        path.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch {ran}\necho 1.2.3\n")
    program.chmod(0o755)
    described.write_text(description)
    return ran


@pytest.mark.parametrize("name", PACKAGES)
def test_the_version_of_a_projects_own_tool_is_what_its_package_says(project, name):
    made = project({})
    ran = bring(made.root, name)
    found = tools.by_npm(name, PACKAGES[name], made)
    assert found == (str(made.root / "node_modules" / ".bin" / name), "7.6.5-rc.1")
    assert not ran.exists()


@pytest.mark.parametrize(
    "description",
    [
        "",
        "[]",
        "{}",
        '{"version": 3}',
        '{"version": "1\\u001b[2J"}',
        '{"version": "1%s"}' % ("0" * 64),
        " " * 1_048_577,
    ],
    ids=["empty", "no-object", "no-version", "no-string", "control-sequence", "too-long", "too-large"],
)
def test_a_package_that_does_not_say_its_version_is_passed_over(nothing_installed, project, description):
    made = project({})
    ran = bring(made.root, "asc", description)
    assert tools.by_npm("asc", "assemblyscript", made) is None
    assert not ran.exists()


def test_a_description_that_is_no_file_is_not_waited_for(nothing_installed, project):
    made = project({})
    bring(made.root, "asc")
    described = made.root / "node_modules" / "assemblyscript" / "package.json"
    described.unlink()
    os.mkfifo(described)
    assert tools.by_npm("asc", "assemblyscript", made) is None


def test_doctor_runs_nothing_of_the_project(enarx_deploy):
    root = enarx_deploy.directory
    (root / "asconfig.json").write_text("{}")
    ran = bring(root, "asc")
    shim = root / "node_modules" / "@assemblyscript" / "wasi-shim"
    shim.mkdir(parents=True)
    (shim / "asconfig.json").write_text('{"options": {"lib": "a", "exportStart": "_start", "use": []}}')
    shown = enarx_deploy("doctor")
    assert "assemblyscript: asc 7.6.5-rc.1" in shown.stdout
    assert not ran.exists()


def test_rustc_is_asked_where_no_project_says_which(tool_named, tmp_path, project, monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "libstd-1.rlib").touch()
    tool_named("cargo", "exit 1")
    answers = f'case "$*" in *--version*) echo rustc 1.95.0 "(x)";; *) echo {tmp_path};; esac'
    tool_named("rustc", f"pwd >> {tmp_path}/places; {answers}")
    made = project({"rust-toolchain.toml": '[toolchain]\nchannel = "1.80.0"\n'})
    monkeypatch.chdir(made.root)
    version = "rustc 1.95.0, wasm32-wasip1"
    assert rust.Rust().find_for(made).version == f"{version}, or as rust-toolchain.toml pins"
    shutil.rmtree(tmp_path / "cache")
    assert rust.Rust().find().version == version
    assert set((tmp_path / "places").read_text().splitlines()) == {"/"}
