"""`enarx-deploy plan`: what `up` would change, before it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import attest_first_options, run_stages

if TYPE_CHECKING:
    from enarx_deploy.cli.progress import Reporting
    from enarx_deploy.plan import Plan
    from enarx_deploy.steps import Work

CHANGES = 4
"""The exit status of `--detailed-exitcode` where something would change; 2 says that the command was used wrongly."""


@click.command()
@common_options("manifest", "backend", "target", "cluster", "metrics", "force", "registry", "sign", "locked")
@attest_first_options
@click.option(
    "--detailed-exitcode",
    "detailed",
    is_flag=True,
    help=f"End with status {CHANGES} if something would change, and with 0 if nothing would.",
)
@click.argument("reference", default="")
def command(
    context: Context, reference: str, attest_first: bool | None, registry_roots: Path | None, *, detailed: bool
) -> int:
    """Compile, package and attest, and say what `up` would change: package, manifest, policy, replicas, certificates.

    Nothing is started or stopped. Values of `env` are not shown, since plans end up in logs; names are.
    """
    from enarx_deploy import plan
    from enarx_deploy.cli.show_plan import shown

    made: list[Plan] = []

    def look(work: Work, _shown: Reporting) -> None:
        made.append(plan.make(work))

    run_stages(
        context,
        until="attest",
        reference=reference,
        attest_first=attest_first,
        registry_roots=registry_roots,
        look=look,
    )
    context.emit(lambda: shown(made[0]), made[0])
    return CHANGES if detailed and made[0].action != "none" else 0
