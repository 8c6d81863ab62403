"""A command of the project's own, in place of any toolchain: `[build] command`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_OUTPUT = "ENARX_DEPLOY_OUTPUT"


class Command:
    """Runs the command, without a shell, in the project's folder.

    Manifest table read: ``[build]``

    - ``command``: its words.
    - ``output``: the module that it leaves; by default the file that the environment names in ``ENARX_DEPLOY_OUTPUT``.
    - ``inputs``: what it reads. Without any it is run each time.
    - ``network``: without it the command is cut off from the network, where the system lets a user do that.
    """

    name = "command"

    def detect(self, project: Project) -> str | None:
        return "[build] command is there" if project.manifest.build.command else None

    def find(self) -> Tool | MissingTool:
        return Tool(command=(), version="as given")

    def inputs(self, project: Project) -> Sequence[Path]:  # noqa: ARG002  # protocol
        return []

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:  # noqa: ARG002  # protocol
        build = project.manifest.build
        if not build.command:
            raise BuildError("there is no command to run", hint="name it: [build] command = ['make', 'main.wasm']")
        command.run(
            build.command,
            cwd=project.root,
            environment={_OUTPUT: str(output)},
            network=build.network,
            progress=progress,
        )
        if build.output:
            _take(project.root / build.output, build.output, output)
        elif not output.is_file():
            raise BuildError(
                f"{build.command[0]} ended well but left no module",
                hint=f"name the file that it leaves: [build] output = 'FILE.wasm', or have it write to ${_OUTPUT}",
            )


def _take(left: Path, name: str, output: Path) -> None:
    try:
        shutil.copyfile(left, output)
    except OSError as error:
        raise BuildError(
            f"{name}: {error.strerror}",
            hint="the command ended well; does [build] output name the file that it leaves?",
        ) from error


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Command()]
