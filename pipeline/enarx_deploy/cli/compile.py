"""`enarx-deploy compile`: sources to one wasm module."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages


@click.command()
@common_options("manifest", "force")
def command(context: Context) -> None:
    """Build the project's sources to `.enarx/main.wasm`, and check that a Keep can run it."""
    module = run_stages(context, until="compile")[-1].record
    context.emit(module.path, module)
