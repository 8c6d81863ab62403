"""`enarx-deploy deploy`: start a Keep."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages


@click.command()
@common_options("manifest", "backend", "target", "metrics", "force")
def command(context: Context) -> None:
    """Compile, package and attest, and start a Keep, which then waits for its certificate.

    `enarx-deploy up` goes on from there.
    """
    deployment = run_stages(context, until="deploy")[-1].record
    context.emit(deployment.id, deployment)
