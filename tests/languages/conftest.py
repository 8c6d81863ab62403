"""Projects of every language, built by real tools and run in a Keep."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from enarx_deploy import tools
from enarx_deploy.errors import BuildError
from enarx_deploy.project import Project, load_project
from enarx_deploy.protocols import MissingTool, Tool, Toolchain

Make = Callable[..., Project]


class Program(Protocol):
    """The fixture `enarx_deploy`."""

    directory: Path

    def __call__(self, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Makes a project of files; `build` is the content of its [build] table."""

    def make(files: dict[str, str | bytes], build: str = "") -> Project:
        root = tmp_path / "project"
        write(root, {"Enarx.toml": f"[build]\n{build}\n", **files})
        loaded = load_project(root)
        loaded.work_dir.mkdir(exist_ok=True)
        return loaded

    return make


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@dataclass
class Bench:
    """What tests do with a toolchain."""

    toolchain: Toolchain

    def found(self, project: Project) -> Tool:
        """Its tool; the test is skipped where this machine has none."""
        tool = tools.find(self.toolchain, project)
        if isinstance(tool, MissingTool):
            pytest.skip(f"{tool.name} is not here: {tool.install}")
        return tool

    def built(self, project: Project) -> tuple[bytes, list[str]]:
        """The module, and the lines of progress."""
        lines: list[str] = []
        output = project.work_dir / "out.wasm"
        self.toolchain.build(project, self.found(project), output, lines.append)
        return output.read_bytes(), lines

    def built_elsewhere(self, project: Project) -> bytes:
        """The module of the same files in another directory, as `compile --check-reproducible` builds it."""
        root = project.root.with_name("elsewhere") / "deeper"
        shutil.copytree(project.root, root, symlinks=True, ignore=shutil.ignore_patterns(".enarx"))
        other = load_project(root)
        other.work_dir.mkdir()
        return self.built(other)[0]

    def refusal(self, project: Project) -> BuildError:
        """The error with which the build ends; it is one of the lines of progress, or made of them."""
        with pytest.raises(BuildError) as caught:
            self.built(project)
        assert caught.value.hint
        return caught.value

    def inputs(self, project: Project) -> list[str]:
        return [str(path.relative_to(project.root)) for path in self.toolchain.inputs(project)]


@pytest.fixture
def bench() -> Callable[[Toolchain], Bench]:
    return Bench


@pytest.fixture
def npm_packages(tmp_path: Path, enarx_deploy: Program) -> Path:
    """The npm packages kept for this program, put where projects of tests are. Without any the test is skipped."""
    kept = tools.node_packages()[0]
    if not kept.is_dir():
        pytest.skip(f"no npm packages are in {kept}: .ci/run installs them")
    for root in (tmp_path / "project", enarx_deploy.directory / "project"):
        root.mkdir()
        (root / "node_modules").symlink_to(kept)
    return kept


@pytest.fixture
def in_keep(
    enarx_deploy: Program, kept: Path, works_with: Callable[[str, Path], None], request: pytest.FixtureRequest
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a project of files in a Keep by `enarx-deploy run`, with words for the workload."""
    environment = {"GOCACHE": str(kept / "go"), "GOFLAGS": "-buildvcs=false"}

    def run(files: dict[str, str | bytes], *words: str, options: tuple[str, ...] = (), **variables: str):
        root = enarx_deploy.directory / "project"
        write(root, files)
        ended = enarx_deploy("run", *options, str(root), "--", *words, env=environment | variables)
        if (root / ".enarx" / "compile.json").exists():  # where the build fails, the test says so
            works_with(request.node.originalname.removeprefix("test_").replace("_", " "), root)
        return ended

    return run


@pytest.fixture
def tool_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a script on PATH, first: a tool that a machine may have, where no real one can be had."""
    place = tmp_path / "tools"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def make(name: str, text: str) -> Path:
        path = place / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any tool: the only directory on PATH is empty, and so are the places for packages."""
    place = tmp_path / "empty"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(place))
    monkeypatch.setattr(tools, "in_distribution", lambda *_words: None)
    return place
