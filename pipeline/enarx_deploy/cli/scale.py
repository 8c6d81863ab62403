"""`enarx-deploy scale`: have more or fewer Keeps serve a deployment."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options


@click.command()
@common_options("target")
@click.argument("name")
@click.argument("replicas", type=click.IntRange(1, 1000))
def command(context: Context, name: str, replicas: int) -> None:
    """Have so many Keeps serve the deployment NAME, all behind its one endpoint.

    New ones take connections when each has its certificate and is healthy. Those that are too many take no more, and
    end when their connections have, or had their time. Nobody is refused meanwhile. NAME may also be a Keep's id.

    It holds until it is said anew, also for the next versions, unless `replicas` in [deploy.NAME] changes. To have
    none, `enarx-deploy stop NAME`.
    """
    from enarx_deploy.cli.find_deployment import find_deployment

    found = find_deployment(context, name)
    with context.plugins.boundary():
        keeps = found.replicas.scale(found.name, replicas)
    ids = ", ".join(keep.id for keep in keeps)
    context.emit(f"{found.name} is served by {len(keeps)} Keep{'s' if len(keeps) > 1 else ''}: {ids}", keeps)
