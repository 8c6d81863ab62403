"""`enarx-deploy deploy`: start a Keep."""

from __future__ import annotations

from pathlib import Path

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import ask_first, attest_first_options, run_stages


@click.command()
@common_options("manifest", "backend", "target", "metrics", "force", "registry", "sign", "locked", "yes")
@attest_first_options
@click.argument("reference", default="")
def command(context: Context, reference: str, attest_first: bool | None, registry_roots: Path | None) -> None:
    """Compile, package and attest, and start a Keep, which then waits for its certificate.

    What would change is said first, as by `plan`; on a terminal you are then asked, unless --yes is given.
    `enarx-deploy up` goes on from there. With REFERENCE the package is fetched from its registry instead: by the Keep
    itself, once it has its certificate, where that is a Drawbridge that speaks TLS and REFERENCE ends in @sha256:HEX.
    """
    deployment = run_stages(
        context,
        until="deploy",
        reference=reference,
        attest_first=attest_first,
        registry_roots=registry_roots,
        look=ask_first(context, "deploy"),
    )[-1].record
    context.emit(deployment.id, deployment)
