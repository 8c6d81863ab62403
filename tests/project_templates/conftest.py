"""Fixtures: projects made from templates, with the program that makes and runs them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy import choice, tools
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.project import load_project
from enarx_deploy.protocols import MissingTool


@pytest.fixture(scope="session")
def kept() -> Path:
    """A directory for what tools keep from one session to the next, such as Go's compiled standard library."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "enarx-deploy" / "tests"
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="module")
def cli(module_enarx_deploy: Any, request: pytest.FixtureRequest, zig_cache: Path, kept: Path) -> Any:
    """`enarx-deploy`, also on PATH, with one Steward for all tests of a module."""
    compiled = Path(request.config.cache.mkdir("enarx_deploy"))
    compiled.chmod(0o700)
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    module_enarx_deploy.environment |= {
        "PATH": os.pathsep.join(path),
        "ENARX_DEPLOY_CACHE_DIR": str(compiled),
        "ZIG_GLOBAL_CACHE_DIR": str(zig_cache),
        "GOCACHE": str(kept / "go"),
    }
    return module_enarx_deploy


@pytest.fixture(scope="module")
def make_project(cli: Any, kept: Path) -> Callable[[str], Path]:
    """Make a project from a template, once for a module; the test is skipped where its compiler is absent."""

    def make(name: str) -> Path:
        folder = cli.directory / name
        if not folder.exists():
            made = cli("new", name)
            assert made.returncode == 0, made.stderr
        if (folder / "package.json").exists() and not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(tools.node_packages()[0])  # as `npm install` would have left them
        if "\nsource = " in _text(folder / "Cargo.lock"):
            cli.environment["CARGO_HOME"] = str(_with_crates(folder, kept))
        toolchain, _ = choice.toolchain(load_project(folder), PluginManager())
        assert toolchain is not None, f"no toolchain knows the template {name}"
        tool = tools.find(toolchain, load_project(folder))
        if isinstance(tool, MissingTool):
            pytest.skip(f"needs {tool.name}: {tool.install}")
        return folder

    return make


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _with_crates(folder: Path, kept: Path) -> Path:
    """A home of cargo for this project, with the crates that its lock file names by digest, and what was built of them.

    They are fetched by whichever cargo can: that which compiles for WASI may be too old for the index of crates.io.
    """
    home = kept / f"crates-{hashlib.sha256((folder / 'Cargo.lock').read_bytes()).hexdigest()[:16]}"
    if not home.exists():
        fetched = home.with_suffix(".new")
        shutil.rmtree(fetched, ignore_errors=True)
        words = ("vendor", "--quiet", "--locked", str(fetched / "vendor"))
        commands = ([cargo, *words] for cargo in tools.all_on_path("cargo"))
        if not any(subprocess.run(command, cwd=folder, capture_output=True).returncode == 0 for command in commands):
            pytest.skip("no cargo here can fetch crates")
        (fetched / "config.toml").write_text(
            f'source.crates-io.replace-with = "kept"\nsource.kept.directory = "{home}/vendor"\n'
        )
        (fetched / "built").mkdir()
        fetched.rename(home)
    work = folder / ".enarx"
    if not work.exists():
        work.mkdir(mode=0o700)
        (work / "cargo").symlink_to(home / "built")
    return home
