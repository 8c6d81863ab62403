"""A module that another build made: `main.wasm` in the project, or the file that `[build] source` names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_DEFAULT = "main.wasm"


class Prebuilt:
    """Takes the module as it is.

    Manifest table read: ``[build]``

    - ``source``: a ``.wasm`` file; default ``main.wasm``.
    """

    name = "prebuilt"

    def detect(self, project: Project) -> str | None:
        source = project.manifest.build.source
        if source:
            return f"[build] source is {source}" if source.endswith(".wasm") else None
        return f"{_DEFAULT} is here" if _module(project).is_file() else None

    def find(self) -> Tool | MissingTool:
        return Tool(command=(), version="as given")

    def inputs(self, project: Project) -> Sequence[Path]:
        return [_module(project)]

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:  # noqa: ARG002  # protocol
        module = _module(project)
        try:
            output.write_bytes(module.read_bytes())
        except OSError as error:
            raise BuildError(
                f"{module}: {error.strerror}", hint="build the module first, or name it: [build] source = 'FILE.wasm'"
            ) from error


def _module(project: Project) -> Path:
    return project.root / (project.manifest.build.source or _DEFAULT)


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Prebuilt()]
