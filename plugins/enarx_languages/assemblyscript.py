"""AssemblyScript: compiled by asc with the WASI shim of its authors, both of npm."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enarx_deploy import tools
from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, sources

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_CONFIGURATION = "asconfig.json"
_DEFAULT = "assembly/index.ts"
_COMPILER = "assemblyscript"
_SHIM = "@assemblyscript/wasi-shim"
_REQUIREMENTS = ("assemblyscript@0.28", "@assemblyscript/wasi-shim@0.1")
_NAMES = (_CONFIGURATION, "package.json", "package-lock.json", "tsconfig.json")
_PROFILES = {"release": ("--optimize",), "debug": ("--debug",)}
_PLACED = r": (?P<words>[^\n]*)\n(?:(?!ERROR)[^\n]*\n)*?\s*\S+ in (?P<file>[^\n]+?)\((?P<line>\d+),(?P<column>\d+)\)"
_ERROR = re.compile(rf"^ERROR \w+{_PLACED}", re.MULTILINE)
_NOT_IMPLEMENTED = re.compile(rf"^ERROR AS100{_PLACED}", re.MULTILINE)
_OF_NODE = re.compile(
    r"File '~lib/[^']+' not found|Cannot find name '(JSON|fetch|require|setTimeout|Buffer|window|document)'"
)
_WHAT_THERE_IS = "of Node and of browsers there are `process`, `console`, `Date`, `Math` and `crypto`, and no more"


class AssemblyScript:
    """Compiles one program; `asconfig.json` is read where there is one.

    Manifest table read: ``[build]``

    - ``source``: the ``.ts`` file to begin with; default: the entries of ``asconfig.json``, else ``assembly/index.ts``.
    - ``profile``: the target of ``asconfig.json``; without that file, ``release`` is ``--optimize``.
    - ``args``: more words for ``asc``, such as ``--runtime stub``.
    """

    name = "assemblyscript"
    by_project_file = True

    def detect(self, project: Project) -> str | None:
        for name in (_CONFIGURATION, _DEFAULT):
            if (project.root / name).is_file():
                return f"{name} is here"
        return f"package.json names {_COMPILER}" if _COMPILER in sources.node_dependencies(project) else None

    def find(self) -> Tool | MissingTool:
        return _find(None)

    def find_for(self, project: Project) -> Tool | MissingTool:
        return _find(project)

    def inputs(self, project: Project) -> Sequence[Path]:
        return sources.files(project, suffixes=(".ts",), names=_NAMES)

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        progress("compiling with asc")
        command.run(
            (*tool.command, *_words(project), "--outFile", str(output), *project.manifest.build.args),
            cwd=project.root,
            network=project.manifest.build.network,
            progress=progress,
            first_error=first_error,
            advice=advice,
        )


def first_error(lines: command.Lines) -> str:
    """`ERROR TS2304: Cannot find name 'x'.`, some lines of the source, and `in a.ts(5,22)`.

    What the language does not have goes before other errors, which it is the cause of where there are any.
    """
    return command.matched(_NOT_IMPLEMENTED, lines) or command.matched(_ERROR, lines)


def advice(lines: command.Lines) -> str:
    """What there is, for who takes the language for TypeScript."""
    return _WHAT_THERE_IS if any(_OF_NODE.search(line) for line in lines) else ""


def _find(project: Project | None) -> Tool | MissingTool:
    asc = tools.by_npm("asc", _COMPILER, project)
    shims = (packages / _SHIM for packages in tools.node_packages(project))
    shim = next((shim for shim in shims if (shim / _CONFIGURATION).is_file()), None)
    if asc and shim:
        root = project.root if project else Path.cwd()
        words = (asc.path, *_for_wasi(shim, root))
        return Tool(command=words, version=f"asc {asc.version}", files=(str(shim / _CONFIGURATION),))
    return tools.npm_package("AssemblyScript with its WASI shim", *_REQUIREMENTS)


def _for_wasi(shim: Path, root: Path) -> Iterator[str]:
    """The shim's own options as words, so that the project's `asconfig.json` can have its say beside them.

    They hold for a compiler that runs in `root`: it joins every path to its directory, absolute ones too.
    """
    options: dict[str, Any] = json.loads((shim / _CONFIGURATION).read_text())["options"]
    library = os.path.relpath(shim / options["lib"], root)
    yield from ("--lib", library, "--exportStart", options["exportStart"])
    yield from ("--use", ",".join(options["use"]))


def _words(project: Project) -> list[str]:
    build = project.manifest.build
    configured = _configuration(project)
    entry = build.source or (None if configured.get("entries") else _DEFAULT)
    if configured:
        return [*([entry] if entry else []), "--target", build.profile]
    if build.profile not in _PROFILES:
        raise BuildError(f"[build] profile is {build.profile!r}", hint=f"without {_CONFIGURATION}: release or debug")
    return [entry or _DEFAULT, *_PROFILES[build.profile]]


def _configuration(project: Project) -> dict[str, Any]:
    path = project.root / _CONFIGURATION
    try:
        configured = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BuildError(f"{_CONFIGURATION}: {error}", hint="correct it, or remove it") from error
    return configured if isinstance(configured, dict) else {}


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [AssemblyScript()]
