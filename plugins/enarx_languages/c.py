"""C: compiled by zig (the PyPI package ziglang, or one that is installed) or by a clang that has a wasi-libc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import paths
from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_FLAGS = ("-Os", "-Wno-unused-command-line-argument")
_ZIG_WORDS = ("cc", "--target=wasm32-wasi")
_WASI_SDK = "/opt/wasi-sdk"
_NEW_NAME_SINCE = 20  # the major version of clang that calls wasm32-wasi by its new name
_CLANG_STACK = "-Wl,-z,stack-size=1048576"  # bytes: its linker's own 64 KiB is little; zig asks for 16 MiB
_DEPENDENCIES = "c.dependencies"  # in .enarx: the files that the last build read, in make's form


class C:
    """Compiles each source, then links.

    Manifest table read: ``[build]``

    - ``source``: a ``.c`` file, or a folder of them; default: the ``.c`` files of the project's folder if one is
      ``main.c`` or there is only one, else those in ``src``.
    - ``args``: more words for compiler and linker, such as ``-DNAME``, ``-Iinclude`` or ``-O3``.
    """

    name = "c"

    def detect(self, project: Project) -> str | None:
        sources = _sources(project)
        if not sources:
            return None
        more = f" with {len(sources) - 1} more" if len(sources) > 1 else ""
        return f"{_name(project, sources[0])} is here{more}"

    def find(self) -> Tool | MissingTool:
        tools = (find() for find in _CANDIDATES)
        return next(
            (tool for tool in tools if tool), MissingTool(name="a C compiler", install="pip install 'enarx-deploy[c]'")
        )

    def inputs(self, project: Project) -> Sequence[Path]:
        listed = {path for path in project.root.rglob("*.[ch]") if _is_visible(path.relative_to(project.root))}
        return sorted(listed.union(_sources(project), _dependencies(project)))

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        sources = [_name(project, source) for source in _sources(project)]
        if not sources:
            raise BuildError("there is no C source here", hint="name a file or a folder: [build] source = 'FILE.c'")
        environment = _environment(tool, progress)
        arguments = (*_FLAGS, *project.manifest.build.args)

        def run(*words: str) -> None:
            command.run((*tool.command, *words), cwd=project.root, environment=environment, progress=progress)

        objects = [output.with_name(f"{source.replace('/', '-')}.o") for source in sources]
        for source, made in zip(sources, objects, strict=True):
            progress(f"compiling {source}")
            run(*arguments, "-c", source, "-o", str(made), "-MMD", "-MF", str(made.with_suffix(".d")))
        progress("linking")
        run(*map(str, objects), *arguments, "-s", "-o", str(output))
        _keep_dependencies(project, [made.with_suffix(".d") for made in objects])


def _sources(project: Project) -> list[Path]:
    named = project.manifest.build.source
    if named:
        source = project.root / named
        if source.is_dir():
            return sorted(source.glob("*.c"))
        return [source] if source.suffix == ".c" else []
    beside = sorted(project.root.glob("*.c"))
    if len(beside) == 1 or project.root / "main.c" in beside:
        return beside
    return sorted((project.root / "src").glob("*.c"))


def _name(project: Project, path: Path) -> str:
    """What the compiler, and so its messages, call a source: its path in the project."""
    return str(path.relative_to(project.root) if path.is_relative_to(project.root) else path)


def _is_visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _dependencies(project: Project) -> list[Path]:
    """The project's files that the last build read and that no name tells, such as `#include "table.inc"`."""
    try:
        text = (project.work_dir / _DEPENDENCIES).read_text()
    except FileNotFoundError:
        return []
    names = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", text.replace("\\\n", " "))]
    found = [project.root / name for name in names if not name.endswith(":")]
    return [path for path in found if path.is_relative_to(project.root) and path.is_file()]


def _keep_dependencies(project: Project, written: Iterable[Path]) -> None:
    text = "\n".join(path.read_text() for path in written)
    paths.write_atomically(project.work_dir / _DEPENDENCIES, text.encode(), mode=0o644)


def _environment(tool: Tool, progress: Progress) -> dict[str, str]:
    if not tool.version.startswith("zig"):
        return {}
    cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(paths.cache_dir("zig"))
    if not Path(cache, "o").exists():
        progress("the first build with zig builds the C library too: about 30 seconds, this once")
    return {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}


def _ziglang() -> Tool | None:
    try:
        version = metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        return None
    # -P: a file of the project must not be imported in the place of a module
    return Tool(command=(sys.executable, "-P", "-m", "ziglang", *_ZIG_WORDS), version=f"zig {version} (PyPI)")


def _zig() -> Tool | None:
    zig = shutil.which("zig")
    version = _said(zig, "version") if zig else ""
    return Tool(command=(zig, *_ZIG_WORDS), version=f"zig {version}") if zig and version else None


def _wasi_sdk() -> Tool | None:
    return _clang(str(Path(os.environ.get("WASI_SDK_PATH") or _WASI_SDK, "bin", "clang")))


def _installed_clang() -> Tool | None:
    names = ("clang", *(f"clang-{major}" for major in range(23, 13, -1)))
    tools = (_clang(name) for name in names if shutil.which(name))
    return next((tool for tool in tools if tool), None)


def _clang(name: str) -> Tool | None:
    """This clang, if it finds a wasi-libc to link with; most that are installed do not."""
    version = _said(name, "--version").partition("\n")[0]
    major = re.search(r"version (\d+)", version)
    if major is None:
        return None
    target = "wasm32-wasip1" if int(major[1]) >= _NEW_NAME_SINCE else "wasm32-wasi"
    words = (name, f"--target={target}", _CLANG_STACK)
    return Tool(command=words, version=version) if Path(_said(*words, "-print-file-name=libc.a")).is_file() else None


_CANDIDATES: tuple[Callable[[], Tool | None], ...] = (_ziglang, _zig, _wasi_sdk, _installed_clang)


def _said(*words: str) -> str:
    """What a tool prints when asked, or nothing where it cannot be asked."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [C()]
