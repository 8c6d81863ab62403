"""C++: compiled by a clang that has a wasi-libc and libc++, or by zig."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import c_family, ziglang

if TYPE_CHECKING:
    from enarx_deploy.project import Project

SUFFIXES = (".cpp", ".cc", ".cxx")
_WITH_C = (*SUFFIXES, ".c")
_FLAGS = ("-fno-exceptions",)  # neither library has what throwing needs: without it the link fails, or a throw traps


class Cpp:
    """Compiles each source, those in C among them as C, then links.

    Manifest table read: ``[build]``

    - ``source``: a ``.cpp``, ``.cc`` or ``.cxx`` file, or a folder of them; default: those of the project's folder if
      one is ``main`` or there is only one, else those in ``src``.
    - ``profile``: ``release`` is ``-Os`` and stripped, ``debug`` is ``-O0 -g``.
    - ``args``: more words for compiler and linker, such as ``-std=c++20`` or ``-Iinclude``.
    """

    name = "cpp"

    def detect(self, project: Project) -> str | None:
        return c_family.why(project, c_family.find_sources(project, SUFFIXES))

    def find(self) -> Tool | MissingTool:
        # clang first: zig builds the library at the first use, which takes it a minute
        clang = next(c_family.clangs("clang++", "libc++.a"), None)
        return clang or ziglang.find("c++", "--target=wasm32-wasi") or ziglang.missing("a C++ compiler")

    def inputs(self, project: Project) -> Sequence[Path]:
        return c_family.inputs(project, _WITH_C, _sources(project))

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        c_family.build(project, tool, _sources(project), output, progress, flags=_FLAGS)


def _sources(project: Project) -> list[Path]:
    return c_family.find_sources(project, _WITH_C if c_family.find_sources(project, SUFFIXES) else ())


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Cpp()]
