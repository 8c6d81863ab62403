"""C# and F#: published by the .NET SDK for wasi-wasm, an experiment of its makers for WASI preview 1."""

from __future__ import annotations

import re
import shutil
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

_PROJECTS = (".csproj", ".fsproj")
_READ = (*_PROJECTS, ".cs", ".fs", ".props", ".targets", ".json", ".resx")
_PROFILES = {"release": "Release", "debug": "Debug"}
_WORKLOAD = "wasi-experimental"
_INSTALL = (
    f"install the .NET SDK 8 from https://dotnet.microsoft.com/download, then: dotnet workload install {_WORKLOAD}; "
    "it also wants a wasi-sdk in WASI_SDK_PATH"
)
_ERROR = re.compile(
    r"^\s*(?P<file>[^\n(:]+)\((?P<line>\d+),(?P<column>\d+)\): error (?P<words>\w+: [^\n\[]+)", re.MULTILINE
)


class DotNet:
    """Publishes the project as a single module; .NET 8 is the last whose modules are of preview 1.

    Manifest table read: ``[build]``

    - ``source``: the ``.csproj`` or ``.fsproj``; default: the only one in the project's folder.
    - ``profile``: ``release`` or ``debug``.
    - ``args``: more words for ``dotnet publish``.
    - ``network``: without it no package is restored from elsewhere.
    """

    name = "dotnet"
    by_project_file = True

    def detect(self, project: Project) -> str | None:
        found = _project_file(project)
        return f"{sources.relative(project, [found])[0]} is here" if found else None

    def find(self) -> Tool | MissingTool:
        dotnet = tools.on_path("dotnet")
        version = tools.said(dotnet, "--version") if dotnet else ""
        # Asked each time: a workload that is installed changes no file that is known here.
        workloads = tools.said(dotnet, "workload", "list", lasting=lambda text: _WORKLOAD in text) if dotnet else ""
        if dotnet and version and _WORKLOAD in workloads:
            return Tool(command=(dotnet, "publish"), version=f".NET {version}")
        return MissingTool(name=f".NET with the workload {_WORKLOAD}", install=_INSTALL)

    def inputs(self, project: Project) -> Sequence[Path]:
        listed = sources.files(project, suffixes=_READ)
        return [path for path in listed if not {"bin", "obj"} & set(path.relative_to(project.root).parts)]

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        described = _project_file(project)
        if described is None:
            raise BuildError("there is no .csproj here", hint="name it: [build] source = 'FILE.csproj'")
        build = project.manifest.build
        place = output.with_name("published")
        progress("publishing with .NET")
        command.run(
            (
                *tool.command,
                sources.relative(project, [described])[0],
                *("--configuration", _PROFILES.get(build.profile, build.profile)),
                *("--runtime", "wasi-wasm"),
                f"-p:WasmAppDir={place}/",
                "-p:WasmSingleFileBundle=true",
                "-p:Deterministic=true",
                f"-p:PathMap={project.root}=/project",
                *build.args,
            ),
            cwd=project.root,
            environment={"DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1", "MSBUILDDISABLENODEREUSE": "1"},
            network=build.network,
            progress=progress,
            first_error=first_error,
        )
        shutil.copyfile(_the_one(place, described), output)


def first_error(lines: command.Lines) -> str:
    """`Program.cs(3,5): error CS0103: … [/place/of.csproj]`."""
    return command.matched(_ERROR, lines)


def _project_file(project: Project) -> Path | None:
    if project.manifest.build.source:
        named = sources.named(project, _PROJECTS)
        return named if named and named.is_file() else None
    found = [path for suffix in _PROJECTS for path in project.root.glob(f"*{suffix}")]
    return found[0] if len(found) == 1 else None


def _the_one(place: Path, described: Path) -> Path:
    made = sorted(place.rglob("*.wasm"))
    own = [path for path in made if path.stem == described.stem] or made
    if len(own) == 1:
        return own[0]
    raise BuildError(
        f"dotnet published {len(own)} modules",
        hint="is OutputType Exe, and RuntimeIdentifier wasi-wasm, in the project?",
    )


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [DotNet()]
