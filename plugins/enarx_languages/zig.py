"""Zig: `build.zig` where there is one, else a single program."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, sources, ziglang

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_SCRIPT = "build.zig"
_DEFAULTS = ("main.zig", "src/main.zig")
_SUFFIXES = (".zig", ".zon", ".c", ".h")
_MODES = {"release": "ReleaseSmall", "debug": "Debug"}
_TARGET = "wasm32-wasi"
_EMBEDDED = re.compile(r'@embedFile\("([^"]+)"\)')


class Zig:
    """Builds by the project's `build.zig`, which must take the standard options of target and mode; else one file.

    Manifest table read: ``[build]``

    - ``source``: a ``.zig`` file to build alone; default: ``build.zig``, else ``main.zig``, else ``src/main.zig``.
    - ``profile``: ``release`` is ReleaseSmall, ``debug`` is Debug, or the name of a mode of Zig.
    - ``args``: more words for ``zig build`` or ``zig build-exe``, such as ``-Dname=value`` or ``-lc``.
    """

    name = "zig"
    by_project_file = True

    def detect(self, project: Project) -> str | None:
        source = _source(project)
        return f"{sources.relative(project, [source])[0]} is here" if source else None

    def find(self) -> Tool | MissingTool:
        return ziglang.find() or ziglang.missing("Zig")

    def inputs(self, project: Project) -> Sequence[Path]:
        listed = sources.files(project, suffixes=_SUFFIXES)
        return sorted({*listed, *_embedded(listed)})

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        source = _source(project)
        if source is None:
            raise BuildError("there is no Zig source here", hint="name it: [build] source = 'FILE.zig'")
        build = project.manifest.build
        mode = _MODES.get(build.profile, build.profile)
        prefix = output.with_name("zig")
        words = _by_script(mode, prefix) if source.name == _SCRIPT else _alone(project, source, mode, output)
        progress("compiling with Zig")
        command.run(
            (*tool.command, *words, *build.args),
            cwd=project.root,
            environment=ziglang.environment(progress),
            network=build.network,
            progress=progress,
        )
        if source.name == _SCRIPT:
            shutil.copyfile(_the_one(prefix), output)


def _source(project: Project) -> Path | None:
    if project.manifest.build.source:
        named = sources.named(project, (".zig",))
        return named if named and named.is_file() else None
    candidates = (project.root / name for name in (_SCRIPT, *_DEFAULTS))
    return next((path for path in candidates if path.is_file()), None)


def _by_script(mode: str, prefix: Path) -> list[str]:
    return ["build", f"-Dtarget={_TARGET}", f"-Doptimize={mode}", "--prefix", str(prefix)]


def _alone(project: Project, source: Path, mode: str, output: Path) -> list[str]:
    stripped = [] if mode == _MODES["debug"] else ["-fstrip"]
    name = sources.relative(project, [source])[0]
    return ["build-exe", name, "-target", _TARGET, "-O", mode, *stripped, f"-femit-bin={output}"]


def _the_one(prefix: Path) -> Path:
    made = sorted((prefix / "bin").glob("*.wasm"))
    if len(made) == 1:
        return made[0]
    names = ", ".join(path.name for path in made) or "none"
    raise BuildError(
        f"{_SCRIPT} installed {len(made)} programs: {names}", hint="it must install one: b.installArtifact(exe)"
    )


def _embedded(listed: Sequence[Path]) -> Iterator[Path]:
    for source in listed:
        if source.suffix == ".zig":
            named = _EMBEDDED.findall(source.read_text(errors="replace"))
            yield from (path for name in named if (path := source.parent / name).is_file())


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Zig()]
