"""binaryen's wasm-opt, which makes a module smaller or faster after its own compiler: `[build] optimize`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from enarx_deploy import staging, tools
from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import MissingTool, Tool

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_LEVELS = {"size": "-Oz", "speed": "-O3"}
_TIMEOUT = 600  # seconds
# What compilers emit by default and Keeps run; a module that says itself what it uses is believed too.
_FEATURES = (
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
)
_REQUIREMENT = "binaryen@132"


def find(project: Project) -> Tool | MissingTool:
    """The wasm-opt of this machine, or of the project's npm packages."""
    program = tools.by_npm("wasm-opt", "binaryen", project)
    if program:
        return Tool(command=(program.path,), version=f"wasm-opt {program.version}")
    return tools.npm_package("wasm-opt", _REQUIREMENT)


def used(project: Project) -> list[Tool]:
    """What the optimised module depends on: the tool, or none where nothing is to be optimised."""
    if project.manifest.build.optimize == "none":
        return []
    found = find(project)
    return [found] if isinstance(found, Tool) else []


def optimize(data: bytes, project: Project) -> bytes:
    """The module made better in what `[build] optimize` says; function names stay. Raises BuildError."""
    found = find(project)
    if isinstance(found, MissingTool):
        raise BuildError("[build] optimize needs wasm-opt, which is not here", hint=found.install)
    level = _LEVELS[project.manifest.build.optimize]
    with staging.directory(project.work_dir) as folder:
        before, after = folder / "before.wasm", folder / "after.wasm"
        before.write_bytes(data)
        _run([*found.command, level, "-g", *_FEATURES, str(before), "-o", str(after)])
        return after.read_bytes()


def _run(words: list[str]) -> None:
    try:
        ended = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(
            f"wasm-opt could not be run: {error}", hint="--set build.optimize=none goes without"
        ) from error
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines() or [f"it ended with status {ended.returncode}"]
        raise BuildError(f"wasm-opt: {said[-1]}", hint="--set build.optimize=none goes without")
