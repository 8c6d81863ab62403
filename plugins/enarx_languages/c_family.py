"""What C and C++ share: clang with a wasi-libc, or zig; each source compiled, then all of them linked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import paths, tools
from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import Progress, Tool
from enarx_languages import command, sources, ziglang

if TYPE_CHECKING:
    from enarx_deploy.project import Project

HEADERS = (".h", ".hh", ".hpp", ".hxx", ".inc")
_PROFILES = {"release": ("-Os",), "debug": ("-O0", "-g")}
_QUIET = "-Wno-unused-command-line-argument"  # one list of words serves compiler and linker
_WASI_SDK = "/opt/wasi-sdk"
_NEW_NAME_SINCE = 20  # the major version of clang that calls wasm32-wasi by its new name
_STACK = "-Wl,-z,stack-size=1048576"  # bytes: its linker's own 64 KiB is little; zig asks for 16 MiB
_VERSIONS = range(30, 13, -1)  # of clang, as Debian and others name its programs
_NOTED = "c.dependencies"  # in .enarx: the files that the last build read, in make's form


def find_sources(project: Project, suffixes: Sequence[str]) -> list[Path]:
    """What `[build] source` names, else what stands beside the manifest if it is one program, else what is in `src`."""
    if project.manifest.build.source:
        named = sources.named(project, suffixes)
        return _in(named, suffixes) if named and named.is_dir() else [named] if named else []
    beside = _in(project.root, suffixes)
    if len(beside) == 1 or any(path.stem == "main" for path in beside):
        return beside
    return _in(project.root / "src", suffixes)


def why(project: Project, found: Sequence[Path]) -> str | None:
    """Why a project with these sources is of the language, or None where there are none."""
    if not found:
        return None
    more = f" with {len(found) - 1} more" if len(found) > 1 else ""
    return f"{sources.relative(project, found)[0]} is here{more}"


def inputs(project: Project, suffixes: Sequence[str], found: Sequence[Path]) -> list[Path]:
    """Every source and header, and what the last build read beside them, such as `#include "table.def"`."""
    listed = sources.files(project, suffixes=(*suffixes, *HEADERS))
    return sorted({*listed, *found, *_noted(project)})


def build(
    project: Project,
    tool: Tool,
    found: Sequence[Path],
    output: Path,
    progress: Progress,
    *,
    flags: Sequence[str] = (),
    linked: Callable[[Mapping[str, str]], Sequence[str]] = lambda _environment: (),
) -> None:
    """Compile each source with `flags`, then link with what `linked` answers. Raises BuildError.

    `linked` is asked before anything is compiled, with what the tool's environment has beside this process's own.
    """
    if not found:
        raise BuildError("there is no source here", hint="name a file or a folder: [build] source = 'FILE'")
    settings = project.manifest.build
    environment = _environment(tool, progress)
    libraries = linked(environment)
    arguments = (*_profile(project), _QUIET, f"-ffile-prefix-map={project.root}=.", *settings.args)

    def run(*words: str) -> None:
        command.run(
            (*tool.command, *words),
            cwd=project.root,
            environment=environment,
            network=settings.network,
            progress=progress,
            slow_because=ziglang.SLOW_BECAUSE if tool.version.startswith("zig") else "",
        )

    names = sources.relative(project, found)
    objects = [output.with_name(f"{name.replace('/', '-')}.o") for name in names]
    for name, made in zip(names, objects, strict=True):
        progress(f"compiling {name}")
        language = ("-x", "c") if name.endswith(".c") else ()
        run(*flags, *arguments, "-c", *language, name, "-o", str(made), "-MMD", "-MF", str(made.with_suffix(".d")))
    progress("linking")
    stripped = () if settings.profile == "debug" else ("-s",)
    run(*map(str, objects), *arguments, *libraries, *stripped, "-o", str(output))
    _note(project, [made.with_suffix(".d") for made in objects])


def clangs(program: str, library: str) -> Iterator[Tool]:
    """Each clang that finds `library` to link with for WASI; most that are installed find none."""
    sdk = Path(os.environ.get("WASI_SDK_PATH") or _WASI_SDK, "bin", program)
    installed = (tools.on_path(name) for name in (program, *(f"{program}-{major}" for major in _VERSIONS)))
    for name in (str(sdk) if sdk.is_file() else None, *installed):
        tool = _clang(name, library) if name else None
        if tool:
            yield tool


def _clang(name: str, library: str) -> Tool | None:
    version = tools.said(name, "--version").partition("\n")[0]
    major = re.search(r"version (\d+)", version)
    if major is None:
        return None
    target = "wasm32-wasip1" if int(major[1]) >= _NEW_NAME_SINCE else "wasm32-wasi"
    words = (name, f"--target={target}", _STACK)
    # A library that is not there is answered with its bare name, until it is installed.
    found = tools.said(*words, f"-print-file-name={library}", lasting=lambda answer: answer.startswith("/"))
    if not (found.startswith("/") and Path(found).is_file()):
        return None
    linker = tools.said(*words, "-print-prog-name=wasm-ld")
    return Tool(command=words, version=version, files=(*_libraries(Path(name)), linker, found))


def _libraries(clang: Path) -> list[str]:
    """The shared libraries that do a clang's work, where its distribution has them beside it."""
    folder = clang.resolve().parent.parent / "lib"
    found = [path for pattern in ("libLLVM*.so*", "libclang-cpp*.so*") for path in folder.glob(pattern)]
    return [str(path) for path in sorted({path.resolve() for path in found})]


def _in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(path for suffix in suffixes for path in folder.glob(f"*{suffix}"))


def _profile(project: Project) -> Sequence[str]:
    profile = project.manifest.build.profile
    if profile not in _PROFILES:
        known = " or ".join(f'"{name}"' for name in _PROFILES)
        raise BuildError(f"[build] profile is {profile!r}", hint=f"this toolchain knows {known}")
    return _PROFILES[profile]


def _environment(tool: Tool, progress: Progress) -> dict[str, str]:
    if not tool.version.startswith("zig"):
        return {}
    return ziglang.environment(
        progress, first_build="the first build with zig builds the C library too: about 30 seconds, this once"
    )


def _noted(project: Project) -> list[Path]:
    try:
        return sources.in_make_form((project.work_dir / _NOTED).read_text(), project.root)
    except FileNotFoundError:
        return []


def _note(project: Project, written: Iterable[Path]) -> None:
    text = "\n".join(path.read_text() for path in written)
    paths.write_atomically(project.work_dir / _NOTED, text.encode(), mode=0o644)
