"""`enarx-deploy deploy`: start a Keep."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages


@click.command()
@common_options("manifest", "backend", "target", "metrics", "force", "registry", "sign", "locked")
@click.argument("reference", default="")
def command(context: Context, reference: str) -> None:
    """Compile, package and attest, and start a Keep, which then waits for its certificate.

    `enarx-deploy up` goes on from there. With REFERENCE the package is fetched from its registry instead.
    """
    deployment = run_stages(context, until="deploy", reference=reference)[-1].record
    context.emit(deployment.id, deployment)
