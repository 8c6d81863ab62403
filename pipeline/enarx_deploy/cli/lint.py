"""`enarx-deploy lint`: what the manifest grants and the module cannot use, and what it uses and the manifest lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.lint import Finding, Needs
    from enarx_deploy.project import Project

_FOUND = 1


@click.command()
@common_options("manifest", "force")
@click.option(
    "--module",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.wasm",
    help="Hold the manifest against this module, and build nothing.",
)
@click.option("--write", is_flag=True, help="Put into the manifest what can be put there; comments and order stay.")
def command(context: Context, module: Path | None, write: bool) -> int:
    """Hold the manifest against the module: grants that it cannot use, and needs that nothing grants.

    Derived from the module's imports, which say what it can do at most, and from constants in its data. What cannot be
    derived is listed as such. The exit status is 1 where there is an error or a warning, notes do not count.
    """
    from enarx_deploy.lint import findings, needs
    from enarx_deploy.wasm import load

    if write and context.overrides:
        raise UsageError("--set and --write do not go together", hint="--write changes the file: leave out --set")
    project = context.project()
    path = module or Path(run_stages(context, until="compile")[-1].record.path)
    needed = needs(load(path), str(path))
    sources = _sources(project, context)
    found = findings(project, needed, sources=sources)
    written = _write(project, found) if write else []
    if written:
        found = findings(context.project(), needed, sources=sources)
    context.emit(lambda: "\n".join(_lines(found, needed, written)), _record(project, path, found, needed, written))
    return _FOUND if any(one.weight != "note" for one in found) else 0


def _sources(project: Project, context: Context) -> list[Path]:
    """What is built needs not be packaged."""
    from enarx_deploy import choice

    with context.plugins.boundary():
        toolchain, _ = choice.toolchain(project, context.plugins)
        return [project.root / path for path in toolchain.inputs(project)] if toolchain else []


def _write(project: Project, found: list[Finding]) -> list[Finding]:
    """Write the manifest, or a new one where there is none; returns what was put there."""
    from enarx_deploy.lint import rewritten
    from enarx_deploy.manifest import FILE_NAME
    from enarx_deploy.paths import write_atomically

    path = project.manifest_file or project.root / FILE_NAME
    new = project.manifest_file is None
    written = [one for one in found if one.change]
    if not written and not new:
        return []
    before = _first_manifest() if new else path.read_bytes().decode().removeprefix("\ufeff")
    text = rewritten(before, [one.change for one in written if one.change], str(path))
    write_atomically(path, text.encode(), mode=0o644 if new else path.stat().st_mode & 0o777)
    return written


def _first_manifest() -> str:
    """What holds without a manifest, as one: the three standard streams."""
    return "\n\n".join(f'[[files]]\nkind = "{kind}"' for kind in ("stdin", "stdout", "stderr")) + "\n"


def _record(
    project: Project, module: Path, found: list[Finding], needed: Needs, written: list[Finding]
) -> dict[str, Any]:
    from enarx_deploy.lint import UNKNOWN

    return {
        "manifest": str(project.manifest_file or ""),
        "module": str(module),
        "ok": all(one.weight == "note" for one in found),
        "findings": [_fields(one) for one in found],
        "written": [_fields(one) for one in written],
        "needs": {
            "functions": sorted(needed.functions),
            "destinations": list(needed.destinations),
            "memory": needed.memory,
        },
        "unknown": list(UNKNOWN),
    }


def _fields(finding: Finding) -> dict[str, Any]:
    from enarx_deploy.manifest.faults import dotted

    fields = asdict(finding)
    del fields["change"]
    return fields | {"place": dotted(finding.place), "can_be_written": finding.change is not None}


def _lines(found: list[Finding], needed: Needs, written: list[Finding]) -> Iterator[str]:
    from enarx_deploy.lint import UNKNOWN
    from enarx_deploy.wasm import printable

    for one in written:
        yield f"written: {printable(one.hint)}"
    for one in found:
        yield f"{one.weight}: {printable(str(one), 500)}"
        yield f"  hint: {printable(one.hint, 500)}"
    if not any(one.weight != "note" for one in found):
        yield "the manifest grants nothing that the module cannot use, and lacks nothing that can be derived"
    yield ""
    yield f"derived from {len(needed.functions)} imports and the module's data; cannot be derived:"
    yield from (f"  {line}" for line in UNKNOWN)
