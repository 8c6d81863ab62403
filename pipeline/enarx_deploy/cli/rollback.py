"""`enarx-deploy rollback`: serve an earlier version again."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options


@click.command()
@common_options("target")
@click.argument("name")
@click.option(
    "--to",
    type=click.IntRange(min=1),
    metavar="VERSION",
    help="Its number in `history`. Default: what served before the present one.",
)
def command(context: Context, name: str, to: int | None) -> None:
    """Serve an earlier version of the deployment NAME again, as it was packaged then; nothing is built.

    It is a change like any other: the earlier version is started beside the present one, which goes on until the other
    is healthy, and where it does not get so. The sources of the project are not touched, so that the next `up` there
    serves what they are. NAME may also be a Keep's id.
    """
    from enarx_deploy.cli.find_deployment import find_deployment

    found = find_deployment(context, name)
    with context.plugins.boundary():
        version = found.versions.rollback(found.name, to or 0)
    context.emit(f"{found.name} serves {version.package} again, as version {version.number}", version)
