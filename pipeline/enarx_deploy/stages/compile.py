"""The default `compile`: the chosen toolchain builds, and what it built is checked before anyone sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import paths, records, staging, tool_bytes, tools
from enarx_deploy.errors import BuildError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Module
from enarx_deploy.protocols import MissingTool, Tool

if TYPE_CHECKING:
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Progress, Toolchain

MODULE_NAME = "main.wasm"


@hookimpl
def compile(project: Project, toolchain: Toolchain | None, progress: Progress) -> Module:
    """Build `.enarx/main.wasm`. Raises UsageError, BuildError, ModuleError."""
    if toolchain is None:
        raise UsageError(
            f"no toolchain knows the sources in {project.root}",
            hint="name one in Enarx.toml: [build] toolchain = NAME; `enarx-deploy plugins` lists them",
        )
    _require_features(toolchain, project)
    tool = _found(toolchain, project)
    inputs = source_digests(project, toolchain)
    with staging.directory(project.work_dir) as folder:
        output = folder / MODULE_NAME
        toolchain.build(project, tool, output, progress)
        data = _finished(_built(output, toolchain), project, progress)
    # A compiler tells of some files only when it has read them. Of the others the state before the build counts: one
    # that was changed meanwhile is built again.
    return _checked(project, toolchain, tool, data, source_digests(project, toolchain) | inputs)


def source_digests(project: Project, toolchain: Toolchain) -> dict[str, str]:
    """The digest of each file that the build reads, by its path relative to the project where it lies inside.

    Those are the files that the toolchain lists and those of `[build] inputs`. Raises BuildError.
    """
    digests = {}
    for path in [project.root / listed for listed in toolchain.inputs(project)] + _named_inputs(project):
        name = path.relative_to(project.root) if path.is_relative_to(project.root) else path
        try:
            digests[str(name)] = records.digest_of_file(path)
        except OSError as error:
            raise BuildError(f"{path}: {error.strerror}", hint="the build would read this file") from error
    return dict(sorted(digests.items()))


def _named_inputs(project: Project) -> list[Path]:
    named = [project.root / name for name in project.manifest.build.inputs]
    return [file for path in named for file in (path.rglob("*") if path.is_dir() else [path]) if not file.is_dir()]


def _require_features(toolchain: Toolchain, project: Project) -> None:
    """A feature that nobody compiles in must not be left out without a word."""
    features = project.manifest.build.features
    if features and not getattr(toolchain, "has_features", False):
        raise BuildError(
            f"toolchain {toolchain.name!r} has no features, and {features[0]!r} is asked for",
            hint="leave out [build] features; [build] args reach the compiler",
        )


def _found(toolchain: Toolchain, project: Project) -> Tool:
    tool = tools.find(toolchain, project)
    if isinstance(tool, MissingTool):
        raise BuildError(
            f"toolchain {toolchain.name!r} needs {tool.name}, which is not here", hint=_install(toolchain, tool)
        )
    return tool


def _install(toolchain: Toolchain, missing: MissingTool) -> str:
    """What to do, and the shorter way to the same where there is one."""
    return f"{missing.install}, or: enarx-deploy doctor --fix {toolchain.name}" if missing.command else missing.install


def _built(output: Path, toolchain: Toolchain) -> bytes:
    try:
        return output.read_bytes()
    except FileNotFoundError as error:
        raise BuildError(
            f"toolchain {toolchain.name!r} ended well but left no module",
            hint="`enarx-deploy -v compile` shows its words",
        ) from error


def _finished(data: bytes, project: Project, progress: Progress) -> bytes:
    """The module after what `[build] optimize` and `strip` ask for."""
    from enarx_deploy import wasm, wasm_opt, wasm_sections

    build = project.manifest.build
    if build.optimize != "none" or build.strip:
        wasm.validate(data, "the built module")
    if build.optimize != "none":
        progress(f"optimizing {len(data):,} bytes for {build.optimize}")
        data = wasm_opt.optimize(data, project)
    return wasm_sections.strip(data) if build.strip else data


def _copy_to_output(project: Project, data: bytes) -> None:
    """Put the module where `[build] output` wants it; a command has left its own there."""
    build = project.manifest.build
    if not build.output or build.command:
        return
    path = project.root / build.output
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_atomically(path, data, mode=0o644)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}", hint="[build] output names this file") from error


def _checked(project: Project, toolchain: Toolchain, tool: Tool, data: bytes, inputs: dict[str, str]) -> Module:
    from enarx_deploy import wasm, wasm_opt

    facts = wasm.validate(data, f"the module that toolchain {toolchain.name!r} built")
    path = project.work_dir / MODULE_NAME
    paths.write_atomically(path, data, mode=0o644)
    _copy_to_output(project, data)
    return Module(
        path=str(path),
        sha256=records.digest_of(data),
        size=len(data),
        entry=facts.entry,
        imports=list(facts.imports),
        toolchain=toolchain.name,
        version=" and ".join(one.version for one in (tool, *wasm_opt.used(project))),
        inputs=inputs,
        toolchain_sha256=tool_bytes.digest(tool, *wasm_opt.used(project)),
    )
