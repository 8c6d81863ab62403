"""`enarx-deploy history`: what a deployment was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.printable import in_a_line

if TYPE_CHECKING:
    from enarx_deploy.models import Version

_HEAD = ("VERSION", "STATE", "BACKEND", "CREATED", "PACKAGE")
_WIDEST = 80  # a digest's length; a reason may be a whole sentence


@click.command()
@common_options("target")
@click.argument("name")
def command(context: Context, name: str) -> None:
    """List the versions of the deployment NAME, oldest first: what served, what serves, and what did not get healthy.

    `enarx-deploy rollback NAME --to VERSION` serves one of them again. What was stopped is `serving` still: `scale`
    starts that version again. NAME may also be a Keep's id.
    """
    from enarx_deploy.cli.find_deployment import find_deployment
    from enarx_deploy.cli.table import table

    found = find_deployment(context, name)
    with context.plugins.boundary():
        versions = found.versions.history(found.name)
    context.emit(lambda: table(_HEAD, [_row(version) for version in versions], _WIDEST), versions)


def _row(version: Version) -> tuple[str, ...]:
    reason = f" ({in_a_line(version.reason)})" if version.reason else ""
    return (str(version.number), f"{version.state}{reason}", version.backend, version.created, version.package)
