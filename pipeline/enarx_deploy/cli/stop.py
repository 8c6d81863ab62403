"""`enarx-deploy stop`: end Keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.cli.find_keep import Found
    from enarx_deploy.models import KeepStatus


@click.command()
@common_options("target")
@click.argument("keeps", nargs=-1, metavar="[KEEP]...")
@click.option("--all", "every", is_flag=True, help="Every Keep that runs.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long open connections may take to end.",
)
def command(context: Context, keeps: tuple[str, ...], *, every: bool, grace: float) -> None:
    """Ask each KEEP to end, wait for its connections, then end it. KEEP is an id, the beginning of one, or a name.

    A name means all Keeps of that name: with the last of them the deployment ends, until it is deployed again.
    """
    statuses = []
    for found in _chosen(context, keeps, every=every):
        if not found.alive:
            context.note(f"Keep {found.status.id} was not running: it is {found.status.state}")
        ended = found.target.stop(found.status.id, grace=grace) if found.alive else found.status
        statuses.append(ended)
    context.emit(lambda: "\n".join(map(_shown, statuses)), statuses)


def _chosen(context: Context, keeps: tuple[str, ...], *, every: bool) -> list[Found]:
    from enarx_deploy.cli.find_keep import all_keeps, find_keeps

    if every == bool(keeps):
        raise UsageError("say which Keeps to stop", hint="name them, or give --all; `enarx-deploy keeps` lists them")
    if every:
        return [found for found in all_keeps(context) if found.alive]
    return [found for keep in keeps for found in find_keeps(context, keep)]


def _shown(status: KeepStatus) -> str:
    ended = "" if status.exit_status is None else f", exit status {status.exit_status}"
    return f"{status.id} {status.state}{ended}"
