"""`enarx-deploy attest`: reference values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages

if TYPE_CHECKING:
    from enarx_deploy.models import ReferenceValues


@click.command()
@common_options("manifest", "backend", "target", "force", "sign", "locked")
def command(context: Context) -> None:
    """Compile and package, and say what the package must measure to on a backend.

    With --json also the appraisal policy, for a Steward that is run elsewhere.
    """
    values = run_stages(context, until="attest")[-1].record
    context.emit(lambda: _shown(values), values)


def _shown(values: ReferenceValues) -> str:
    vouched = "yes" if values.hardware else "no: whoever runs the machine can forge these"
    rows = {"backend": values.backend, "hardware": vouched, "package": values.package, **values.measurements}
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
