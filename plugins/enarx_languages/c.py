"""C: compiled by zig, or by a clang that has a wasi-libc."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import c_family, cpp, ziglang

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_SUFFIXES = (".c",)


class C:
    """Compiles each source, then links.

    Manifest table read: ``[build]``

    - ``source``: a ``.c`` file, or a folder of them; default: the ``.c`` files of the project's folder if one is
      ``main.c`` or there is only one, else those in ``src``.
    - ``profile``: ``release`` is ``-Os`` and stripped, ``debug`` is ``-O0 -g``.
    - ``args``: more words for compiler and linker, such as ``-DNAME``, ``-Iinclude`` or ``-O3``.
    """

    name = "c"

    def detect(self, project: Project) -> str | None:
        if c_family.find_sources(project, cpp.SUFFIXES):
            return None
        return c_family.why(project, c_family.find_sources(project, _SUFFIXES))

    def find(self) -> Tool | MissingTool:
        zig = ziglang.find("cc", "--target=wasm32-wasi")
        return zig or next(c_family.clangs("clang", "libc.a"), ziglang.missing("a C compiler"))

    def inputs(self, project: Project) -> Sequence[Path]:
        return c_family.inputs(project, _SUFFIXES, c_family.find_sources(project, _SUFFIXES))

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        c_family.build(project, tool, c_family.find_sources(project, _SUFFIXES), output, progress)


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [C()]
