"""WebAssembly text: `main.wat`, a single `.wat` file, or the one that `[build] source` names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import tools
from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_DEFAULT = "main.wat"
_PLACE = re.compile(r"--> [^\n]*?:(\d+):(\d+)\n")


class Wat:
    """Translates text with the engine that runs it.

    Manifest table read: ``[build]``

    - ``source``: a ``.wat`` file; default ``main.wat``, else the only one in the project's folder.
    """

    name = "wat"

    def detect(self, project: Project) -> str | None:
        if project.manifest.build.source:
            source = project.manifest.build.source
            return f"[build] source is {source}" if source.endswith(".wat") else None
        text = _text(project)
        return f"{text.name} is here" if text.is_file() else None

    def find(self) -> Tool | MissingTool:
        engine = tools.in_distribution("wasmtime", "wasmtime/__init__.py")
        if engine is None:
            return Tool(command=(), version="wasmtime")
        return Tool(command=(), version=f"wasmtime {engine.version}", files=(str(engine.path),))

    def inputs(self, project: Project) -> Sequence[Path]:
        return [_text(project)]

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:  # noqa: ARG002  # protocol
        import wasmtime

        text = _text(project)
        try:
            output.write_bytes(wasmtime.wat2wasm(text.read_bytes()))
        except OSError as error:
            raise BuildError(f"{text}: {error.strerror}", hint="name the file: [build] source = 'FILE.wat'") from error
        except wasmtime.WasmtimeError as error:
            raise _as_build_error(project.manifest.build.source or text.name, str(error)) from error


def _text(project: Project) -> Path:
    if project.manifest.build.source:
        return project.root / project.manifest.build.source
    default = project.root / _DEFAULT
    found = sorted(project.root.glob("*.wat"))
    return found[0] if len(found) == 1 else default


def _as_build_error(text: str, said: str) -> BuildError:
    place = _PLACE.search(said)
    where = f"{text}:{place[1]}:{place[2]}" if place else text
    return BuildError(f"{where}: error: {said.splitlines()[0]}", hint="correct the text there, then build again")


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Wat()]
