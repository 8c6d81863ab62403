"""Fixtures: projects made from templates, with the program that makes and runs them."""

from __future__ import annotations

import os
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
def make_project(cli: Any) -> Callable[[str], Path]:
    """Make a project from a template, once for a module; the test is skipped where its compiler is absent."""

    def make(name: str) -> Path:
        folder = cli.directory / name
        if not folder.exists():
            made = cli("new", name)
            assert made.returncode == 0, made.stderr
        if (folder / "package.json").exists() and not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(tools.node_packages()[0])  # as `npm install` would have left them
        toolchain, _ = choice.toolchain(load_project(folder), PluginManager())
        assert toolchain is not None, f"no toolchain knows the template {name}"
        tool = tools.find(toolchain, load_project(folder))
        if isinstance(tool, MissingTool):
            pytest.skip(f"needs {tool.name}: {tool.install}")
        return folder

    return make
