"""`enarx-deploy compile`: sources to one wasm module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.progress import reporter
from enarx_deploy.cli.remember import remember
from enarx_deploy.cli.run_stages import run_stages

if TYPE_CHECKING:
    from enarx_deploy.models import Module
    from enarx_deploy.project import Project


@click.command()
@common_options("manifest", "force", "locked")
@click.option(
    "--check-reproducible",
    "check",
    is_flag=True,
    help="Build twice, in two directories, and fail where the bytes differ; says in which section.",
)
def command(context: Context, check: bool) -> None:
    """Build the project's sources to `.enarx/main.wasm`, and check that a Keep can run it.

    The toolchain is found by the project's files, and named; [build] in Enarx.toml can say otherwise. A build has no
    network unless `network = true` there.
    """
    if check:
        _compile_twice(context)
    else:
        _compile(context)
        remember(context, _compile)


def _compile(context: Context) -> None:
    module = run_stages(context, until="compile")[-1].record
    context.emit(module.path, module)


def _compile_twice(context: Context) -> None:
    context.force = True
    module = run_stages(context, until="compile")[-1].record
    _require_reproducible(context, module)
    context.emit(f"{module.path}: built twice, the same bytes", {"module": module, "reproducible": True})


def _require_reproducible(context: Context, module: Module) -> None:
    from enarx_deploy.rebuild import require_reproducible

    project = context.project()

    def load(copy: Path) -> Project:
        context.directory = copy
        return context.project()

    with reporter(context) as shown:
        require_reproducible(project, module, load, context.plugins, shown)
