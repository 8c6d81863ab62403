"""Rust: built by cargo, for whichever name of the WASI target a compiler on this machine has."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enarx_deploy import tools
from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, sources

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_MANIFEST = "Cargo.toml"
_READ = (_MANIFEST, "Cargo.lock", "config.toml", "config", "rust-toolchain", "rust-toolchain.toml")
_PINS = ("rust-toolchain.toml", "rust-toolchain")
_TARGETS = ("wasm32-wasip1", "wasm32-wasi")  # the new name, and the one before Rust 1.78
_WITH_RUSTUP = f"rustup target add {_TARGETS[0]}"
_WITHOUT = f"get rustup from https://rustup.rs, then: {_WITH_RUSTUP}"
_NOTHING_FROM_OUTSIDE = {"RUSTUP_AUTO_INSTALL": "0"}
_PROFILE_FOLDERS = {"dev": "debug", "debug": "debug"}
_PROFILES = {"debug": "dev"}


class Rust:
    """Builds the package's binary with cargo, in `.enarx/cargo`.

    Manifest table read: ``[build]``

    - ``source``: the folder with the ``Cargo.toml``; default: the project's.
    - ``profile``: any profile of Cargo; default ``release``.
    - ``features``: features of the package.
    - ``args``: more words for ``cargo build``, such as ``--bin NAME`` or ``--no-default-features``.
    - ``network``: without it cargo is ``--offline``.
    """

    name = "rust"
    by_project_file = True
    has_features = True

    def detect(self, project: Project) -> str | None:
        manifest = _manifest(project)
        return f"{sources.relative(project, [manifest])[0]} is here" if manifest.is_file() else None

    def find(self) -> Tool | MissingTool:
        return _find([])

    def find_for(self, project: Project) -> Tool | MissingTool:
        return _find([project.root / name for name in _PINS])

    def inputs(self, project: Project) -> Sequence[Path]:
        listed = sources.files(project, suffixes=(".rs",), names=_READ)
        return sorted({*listed, *_read_by_the_last_build(project)})

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        made: list[str] = []
        command.run(
            (*tool.command, *_words(project)),
            cwd=project.root,
            environment=_environment(project, tool),
            network=project.manifest.build.network,
            progress=progress,
            shown=lambda line: _shown(line, made),
        )
        shutil.copyfile(_the_one(made), output)


def _manifest(project: Project) -> Path:
    return project.root / (project.manifest.build.source or "") / _MANIFEST


def _find(pins: Sequence[Path]) -> Tool | MissingTool:
    """The first cargo whose compiler has the target: each is asked, since the first on PATH often has not.

    What a project pins can be a program of its own, so that only the build heeds it.
    """
    depends_on = [_rustup_home() / "settings.toml"]
    pinned = "".join(f", or as {pin.name} pins" for pin in pins if pin.is_file())
    for cargo in tools.all_on_path("cargo"):
        rustc = Path(cargo).with_name("rustc")

        def ask(*words: str, rustc: Path = rustc) -> str:
            asked = (str(rustc), *words)
            return tools.said(*asked, depends_on=depends_on, environment=_NOTHING_FROM_OUTSIDE)

        for target in _TARGETS:
            libraries = ask("--print", "target-libdir", "--target", target)
            if libraries and any(Path(libraries).glob("libstd-*.rlib")):
                version = " ".join(ask("--version").split()[:2])
                return Tool(
                    command=(cargo, "build", "--target", target),
                    version=f"{version}, {target}{pinned}",
                    files=(*_compiler(Path(ask("--print", "sysroot"))), libraries),
                )
    install = _WITH_RUSTUP if shutil.which("rustup") else _WITHOUT
    return MissingTool(name=f"a Rust compiler with the target {_TARGETS[0]}", install=install)


def _compiler(sysroot: Path) -> list[str]:
    """rustc and the library that does its work, which Debian has elsewhere."""
    libraries = [
        path for pattern in ("lib", "lib/*-linux-gnu") for path in sysroot.glob(f"{pattern}/librustc_driver-*.so")
    ]
    return [str(path) for path in (sysroot / "bin/rustc", *sorted(libraries))]


def _rustup_home() -> Path:
    return Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")


def _target_directory(project: Project) -> Path:
    return project.work_dir / "cargo"


def _words(project: Project) -> Iterator[str]:
    build = project.manifest.build
    yield from ("--manifest-path", str(_manifest(project)), "--target-dir", str(_target_directory(project)))
    yield from ("--profile", _PROFILES.get(build.profile, build.profile))
    yield "--message-format=json-diagnostic-short"
    if not build.network:
        yield "--offline"
    if build.features:
        yield from ("--features", ",".join(build.features))
    if "RUSTFLAGS" not in os.environ:
        yield from ("--config", f"build.rustflags={json.dumps(_without_places(project))}")
    if build.profile == "release" and not _says_how_to_strip(project):
        yield from ("--config", 'profile.release.strip="symbols"')
    yield from build.args


def _without_places(project: Project) -> list[str]:
    """What keeps the names of this machine's directories out of the module."""
    cargo_home = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    return [f"--remap-path-prefix={project.root}=/project", f"--remap-path-prefix={cargo_home}=/cargo"]


def _says_how_to_strip(project: Project) -> bool:
    try:
        manifest: dict[str, Any] = tomllib.loads(_manifest(project).read_text())
        return "strip" in manifest.get("profile", {}).get("release", {})
    except (OSError, ValueError, AttributeError):
        return False  # cargo will say what is wrong with it, and where


def _environment(project: Project, tool: Tool) -> Mapping[str, str]:
    flags = os.environ.get("RUSTFLAGS")
    return {
        "RUSTC": str(Path(tool.command[0]).with_name("rustc")),
        "CARGO_TERM_COLOR": "never",
        **({"RUSTFLAGS": " ".join([flags, *_without_places(project)])} if flags is not None else {}),
        **_NOTHING_FROM_OUTSIDE,
    }


def _shown(line: str, made: list[str]) -> str:
    """What cargo says in JSON, as a line for people; the executables that it made are put into `made`."""
    if not line.startswith("{"):
        return line.strip()
    try:
        message = json.loads(line)
    except ValueError:
        return line
    if message.get("reason") == "compiler-artifact" and message.get("executable"):
        made.append(message["executable"])
    if message.get("reason") == "compiler-message":
        return str(message["message"].get("rendered") or "").strip()
    return ""


def _the_one(made: list[str]) -> Path:
    modules = [Path(one) for one in made if one.endswith(".wasm")]
    if len(modules) == 1:
        return modules[0]
    if not modules:
        raise BuildError("cargo made no program", hint="a Keep runs a binary: src/main.rs, or [[bin]] in Cargo.toml")
    names = ", ".join(sorted(path.stem for path in modules))
    raise BuildError(f"cargo made {len(modules)} programs: {names}", hint="say which: [build] args = ['--bin', 'NAME']")


def _read_by_the_last_build(project: Project) -> Iterator[Path]:
    """The project's files that cargo noted, such as those of `include_str!`."""
    folder = _PROFILE_FOLDERS.get(project.manifest.build.profile, project.manifest.build.profile)
    for noted in _target_directory(project).glob(f"*/{folder}/*.d"):
        for line in noted.read_text(errors="replace").splitlines():
            yield from sources.in_make_form(line.partition(": ")[2], project.root)


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [Rust()]
