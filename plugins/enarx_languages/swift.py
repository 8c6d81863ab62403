"""Swift: built by the package manager with the Swift SDK for WebAssembly."""

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

_DESCRIPTION = "Package.swift"
_NAMES = (_DESCRIPTION, "Package.resolved")
_SDK = re.compile(r"^\S*wasm(?!.*embedded)\S*$", re.MULTILINE)
_INSTALL = (
    "install Swift 6.2 or later from https://www.swift.org/install/, then its SDK for WebAssembly: swift sdk install"
)


class Swift:
    """Builds the package's executable, in `.enarx/swift`.

    Manifest table read: ``[build]``

    - ``profile``: ``release`` or ``debug``.
    - ``args``: more words for ``swift build``, such as ``--product NAME``.
    - ``network``: without it no package is fetched.
    """

    name = "swift"
    by_project_file = True

    def detect(self, project: Project) -> str | None:
        return f"{_DESCRIPTION} is here" if (project.root / _DESCRIPTION).is_file() else None

    def find(self) -> Tool | MissingTool:
        swift = tools.on_path("swift")
        version = tools.said(swift, "--version").partition("\n")[0] if swift else ""
        # Asked each time: an SDK that is installed changes no file that is known here.
        sdk = _SDK.search(tools.said(swift, "sdk", "list", lasting=bool)) if swift and version else None
        if swift and sdk:
            return Tool(command=(swift, "build", "--swift-sdk", sdk[0]), version=f"{version}, {sdk[0]}")
        return MissingTool(name="Swift with its SDK for WebAssembly", install=_INSTALL)

    def inputs(self, project: Project) -> Sequence[Path]:
        return sources.files(project, suffixes=(".swift", ".c", ".h"), names=_NAMES)

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        build = project.manifest.build
        place = project.work_dir / "swift"
        words = ("--configuration", build.profile, "--scratch-path", str(place))
        offline = () if build.network else ("--disable-automatic-resolution",)
        progress("compiling with Swift")
        command.run(
            # The namespaces of its own sandbox cannot be nested in the one that has no network.
            (*tool.command, "--disable-sandbox", *words, *offline, *build.args),
            cwd=project.root,
            network=build.network,
            progress=progress,
        )
        shutil.copyfile(_the_one(place, build.profile), output)


def _the_one(place: Path, profile: str) -> Path:
    made = sorted({path.resolve() for path in place.glob(f"*/{profile}/*.wasm")})
    if len(made) == 1:
        return made[0]
    names = ", ".join(path.stem for path in made) or "none"
    raise BuildError(
        f"swift made {len(made)} programs: {names}", hint="say which: [build] args = ['--product', 'NAME']"
    )


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Swift()]
