"""C++: compiled by a clang that has a wasi-libc and libc++, or by zig, which alone can do exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import c_family, cpp_exceptions, ziglang

if TYPE_CHECKING:
    from enarx_deploy.project import Project

SUFFIXES = (".cpp", ".cc", ".cxx")
_WITH_C = (*SUFFIXES, ".c")
_WITHOUT = "-fno-exceptions"  # no library for WASI has what throwing needs: the link would fail, or a throw trap
_WITH = "-fwasm-exceptions"
_THROWS = re.compile(rb"^(?!\s*(?://|\*)).*?(?:\bthrow\b|\btry\s*(?:\{|$)|\bcatch\s*\()", re.MULTILINE)


class Cpp:
    """Compiles each source, those in C among them as C, then links.

    Manifest table read: ``[build]``

    - ``source``: a ``.cpp``, ``.cc`` or ``.cxx`` file, or a folder of them; default: those of the project's folder if
      one is ``main`` or there is only one, else those in ``src``.
    - ``profile``: ``release`` is ``-Os`` and stripped, ``debug`` is ``-O0 -g``.
    - ``args``: more words for compiler and linker, such as ``-std=c++20`` or ``-Iinclude``.

    A program has exceptions if a source or header of the project says ``throw``, ``try`` or ``catch``; ``args`` with
    ``-fwasm-exceptions`` or ``-fno-exceptions`` decides otherwise.
    """

    name = "cpp"

    def detect(self, project: Project) -> str | None:
        return c_family.why(project, c_family.find_sources(project, SUFFIXES))

    def find(self) -> Tool | MissingTool:
        # clang first: zig builds the library at the first use, which takes it a minute
        clang = next(c_family.clangs("clang++", "libc++.a"), None)
        return clang or ziglang.find("c++", "--target=wasm32-wasi") or ziglang.missing("a C++ compiler")

    def find_for(self, project: Project) -> Tool | MissingTool:
        if not _has_exceptions(project):
            return self.find()
        return ziglang.find("c++", "--target=wasm32-wasi") or ziglang.missing("a C++ compiler that has exceptions")

    def inputs(self, project: Project) -> Sequence[Path]:
        return c_family.inputs(project, _WITH_C, _sources(project))

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        if not _has_exceptions(project):
            c_family.build(project, tool, _sources(project), output, progress, flags=(_WITHOUT,))
            return

        def linked(environment: Mapping[str, str]) -> Sequence[str]:
            return cpp_exceptions.LINK, str(cpp_exceptions.library(tool, environment, progress))

        flags = cpp_exceptions.FLAGS
        c_family.build(project, tool, _sources(project), output, progress, flags=flags, linked=linked)


def _sources(project: Project) -> list[Path]:
    return c_family.find_sources(project, _WITH_C if c_family.find_sources(project, SUFFIXES) else ())


def _has_exceptions(project: Project) -> bool:
    args = project.manifest.build.args
    if _WITHOUT in args or _WITH in args:
        return _WITHOUT not in args
    return any(_THROWS.search(path.read_bytes()) for path in c_family.inputs(project, SUFFIXES, ()) if path.is_file())


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Cpp()]
