"""Grain: its compiler writes modules for WASI preview 1."""

from __future__ import annotations

import re
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

_DEFAULTS = ("main.gr", "src/main.gr")
_INSTALL = "see https://grain-lang.org/docs/getting_grain"
_ERROR = re.compile(
    r'^File "(?P<file>[^"]+)", line (?P<line>\d+), characters (?P<column>\d+)-\d+:?\n'
    r"(?:[^\n]*\n)*?Error: (?P<words>[^\n]+)",
    re.MULTILINE,
)


class Grain:
    """Compiles one program.

    Manifest table read: ``[build]``

    - ``source``: the ``.gr`` file; default ``main.gr``, else ``src/main.gr``.
    - ``profile``: ``release`` is ``--release``.
    - ``args``: more words for ``grain compile``.
    """

    name = "grain"

    def detect(self, project: Project) -> str | None:
        source = _source(project)
        return f"{sources.relative(project, [source])[0]} is here" if source else None

    def find(self) -> Tool | MissingTool:
        grain = tools.on_path("grain")
        version = tools.said(grain, "--version") if grain else ""
        if grain and version:
            return Tool(command=(grain, "compile"), version=f"grain {version}")
        return MissingTool(name="Grain", install=_INSTALL)

    def inputs(self, project: Project) -> Sequence[Path]:
        return sources.files(project, suffixes=(".gr",))

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        source = _source(project)
        if source is None:
            raise BuildError("there is no Grain source here", hint="name it: [build] source = 'FILE.gr'")
        build = project.manifest.build
        release = () if build.profile == "debug" else ("--release",)
        progress("compiling with Grain")
        command.run(
            (*tool.command, *release, *build.args, sources.relative(project, [source])[0], "-o", str(output)),
            cwd=project.root,
            network=build.network,
            progress=progress,
            first_error=first_error,
        )


def first_error(lines: command.Lines) -> str:
    """`File "main.gr", line 3, characters 2-5:`, and below it `Error: …`."""
    return command.matched(_ERROR, lines)


def _source(project: Project) -> Path | None:
    if project.manifest.build.source:
        named = sources.named(project, (".gr",))
        return named if named and named.is_file() else None
    return next((path for name in _DEFAULTS if (path := project.root / name).is_file()), None)


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Grain()]
