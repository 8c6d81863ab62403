"""Fixtures: projects made from templates, with the program that makes and runs them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy import choice, tools
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.project import load_project
from enarx_deploy.protocols import MissingTool


@pytest.fixture(scope="module")
def cli(module_enarx_deploy: Any, shared_cache: Path, zig_cache: Path, kept: Path) -> Any:
    """`enarx-deploy`, also on PATH, with one Steward for all tests of a module."""
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    module_enarx_deploy.environment |= {
        "PATH": os.pathsep.join(path),
        "ENARX_DEPLOY_CACHE_DIR": str(shared_cache),
        "ZIG_GLOBAL_CACHE_DIR": str(zig_cache),
        "GOCACHE": str(kept / "go"),
    }
    return module_enarx_deploy


@pytest.fixture(scope="module")
def make_project(cli: Any, kept: Path) -> Iterator[Callable[[str], Path]]:
    """Make a project from a template, once for a module; the test is skipped where its compiler is absent."""
    places: dict[str, Path] = {}
    with contextlib.ExitStack() as held:

        def make(name: str) -> Path:
            if name not in places:
                made = cli("new", name)
                assert made.returncode == 0, made.stderr
                places[name] = held.enter_context(_with_what_it_depends_on(cli.directory / name, cli, kept))
            project = load_project(places[name])
            toolchain, _ = choice.toolchain(project, PluginManager())
            assert toolchain is not None, f"no toolchain knows the template {name}"
            tool = tools.find(toolchain, project)
            if isinstance(tool, MissingTool):
                pytest.skip(f"needs {tool.name}: {tool.install}")
            return places[name]

        yield make


@contextlib.contextmanager
def _with_what_it_depends_on(folder: Path, cli: Any, kept: Path) -> Iterator[Path]:
    """Packages of npm as `npm install` would have left them; crates, for which the project is put beside them."""
    if (folder / "package.json").exists():
        (folder / "node_modules").symlink_to(tools.node_packages()[0])
    lock = folder / "Cargo.lock"
    if not lock.exists() or "\nsource = " not in lock.read_text():
        yield folder
        return
    home = kept / f"crates-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        _fetch_crates(folder, home)
        cli.environment["CARGO_HOME"] = str(home)
        # Always at the same place, of which the flags speak: at another one cargo would build all crates again.
        place = home / "project"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        (place / ".enarx").mkdir(mode=0o700)
        (place / ".enarx" / "cargo").symlink_to(home / "built")
        yield place


def _fetch_crates(folder: Path, home: Path) -> None:
    """Make `home` a home of cargo that has the crates which a lock file names by digest.

    They are fetched by whichever cargo can: that which compiles for WASI may be too old for the index of crates.io.
    """
    configuration = home / "config.toml"
    if configuration.exists():
        return
    commands = ([cargo, "vendor", "--quiet", "--locked", home / "vendor"] for cargo in tools.all_on_path("cargo"))
    if not any(subprocess.run(command, cwd=folder, capture_output=True).returncode == 0 for command in commands):
        pytest.skip("no cargo here can fetch crates")
    (home / "built").mkdir(exist_ok=True)
    configuration.write_text(f'source.crates-io.replace-with = "kept"\nsource.kept.directory = "{home}/vendor"\n')
