"""`enarx-deploy package`: the tree that a Keep runs."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages


@click.command()
@common_options("manifest", "force")
def command(context: Context) -> None:
    """Compile, and put module, manifest and assets into a tree that its digest names."""
    package = run_stages(context, until="package")[-1].record
    context.emit(f"{package.digest} {package.root}", package)
