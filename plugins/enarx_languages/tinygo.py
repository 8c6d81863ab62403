"""TinyGo: Go in small modules. Taken where it is asked for by name; projects of Go are built by `go`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import tools
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, go

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_INSTALL = "see https://tinygo.org/getting-started/install/; version 0.35 or later has the target wasip1"


class TinyGo:
    """Builds a main package for the target ``wasip1``.

    Manifest table read: ``[build]``

    - ``source``: the package's folder, or a ``.go`` file; default: the project's folder.
    - ``profile``: ``release`` is ``-opt=z`` without debugging information.
    - ``features``: build tags.
    - ``args``: more words for ``tinygo build``, such as ``-gc=leaking``.
    - ``network``: without it no module is fetched.
    """

    name = "tinygo"
    by_project_file = True
    has_features = True

    def detect(self, project: Project) -> str | None:  # noqa: ARG002  # protocol
        return None

    def find(self) -> Tool | MissingTool:
        tinygo = tools.on_path("tinygo")
        version = tools.said(tinygo, "version") if tinygo else ""
        if tinygo and version:
            return Tool(command=(tinygo, "build", "-target=wasip1"), version=version)
        return MissingTool(name="TinyGo", install=_INSTALL)

    def inputs(self, project: Project) -> Sequence[Path]:
        return go.inputs(project)

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        build = project.manifest.build
        words = ["-o", str(output)]
        if build.profile != "debug":
            words += ["-opt=z", "-no-debug"]
        if build.features:
            words.append(f"-tags={' '.join(build.features)}")
        progress("compiling with TinyGo")
        command.run(
            (*tool.command, *words, *build.args, go.package(project)),
            cwd=project.root,
            environment={} if build.network else {"GOPROXY": "off"},
            network=build.network,
            progress=progress,
            first_error=go.first_error,
        )


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [TinyGo()]
