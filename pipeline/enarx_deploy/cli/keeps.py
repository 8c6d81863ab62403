"""`enarx-deploy keeps`: what runs, and what has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.printable import in_a_line

if TYPE_CHECKING:
    from enarx_deploy.models import KeepStatus

_HEAD = ("ID", "NAME", "STATE", "BACKEND", "TARGET", "ENDPOINTS", "CREATED")
_WIDEST = 40  # a reason may be a whole sentence


@click.command()
@common_options("target")
def command(context: Context) -> None:
    """List the Keeps, running or not, oldest first."""
    from enarx_deploy.cli.find_keep import all_keeps

    statuses = [keep.status for keep in all_keeps(context)]
    context.emit(lambda: _shown(statuses), statuses)


def _shown(statuses: list[KeepStatus]) -> str:
    from enarx_deploy.cli.table import table

    if not statuses:
        return "no Keeps"
    return table(_HEAD, [_row(status) for status in statuses], _WIDEST)


def _row(status: KeepStatus) -> tuple[str, ...]:
    from enarx_deploy.cli.progress import at

    endpoints = ", ".join(f"{e.name} {e.prot} {at(e.host, e.port)}" for e in status.endpoints) or "-"
    return (status.id, status.name, _state(status), status.backend, status.target, endpoints, status.created)


def _state(status: KeepStatus) -> str:
    exit_status = "" if status.exit_status is None else f" {status.exit_status}"
    remarks = "; ".join(
        filter(
            None,
            [in_a_line(status.reason), status.health_failure, status.renewal_failure, status.unheld, *status.limits],
        )
    )
    return f"{status.state}{exit_status}{f' ({remarks})' if remarks else ''}"
