"""`enarx-deploy renew`: give running Keeps new certificates."""

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
def command(context: Context, keeps: tuple[str, ...]) -> None:
    """Have each KEEP certified anew: new evidence for a new key. KEEP is an id, the beginning of one, or a name.

    Without KEEP, every running Keep that has a certificate. Connections that are up stay up, and new ones see the new
    certificate. Where it fails, the Keep goes on with what it has.

    Keeps renew by themselves from half of their certificate's life on: this is for doing it now.
    """
    statuses = [found.target.renew_certificate(found.status.id) for found in _chosen(context, keeps)]
    context.emit(lambda: "\n".join(map(_shown, statuses)) or "no running Keep has a certificate", statuses)


def _chosen(context: Context, keeps: tuple[str, ...]) -> list[Found]:
    from enarx_deploy.cli.find_keep import all_keeps, find_keeps

    if not keeps:
        return [found for found in all_keeps(context) if found.alive and found.status.certificate_not_after]
    chosen = [found for keep in keeps for found in find_keeps(context, keep)]
    for found in chosen:
        if not found.alive:
            raise UsageError(
                f"Keep {found.status.id} is not running: it is {found.status.state}",
                hint="`enarx-deploy up` starts another",
            )
    return chosen


def _shown(status: KeepStatus) -> str:
    return f"{status.id} renewed, until {status.certificate_not_after}"
