"""`enarx-deploy repo`: repositories of a Drawbridge."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.drawbridge_names import record, repository_of


@click.group()
@common_options()
def command(_context: Context) -> None:
    """Make and show repositories of a Drawbridge, in which packages are published under tags."""


@command.command()
@click.argument("repository")
@click.option("--private", is_flag=True, help="Only you can read it, and Keeps that run what is in it.")
@common_options("registry")
def register(context: Context, repository: str, private: bool) -> None:
    """Make REPOSITORY, which is [HOST/]USER/NAME. Everybody can read it, unless it is --private."""
    from enarx_deploy import drawbridge_client

    place = repository_of(context, repository)
    hint = f"`enarx-deploy user register {place.host}/{place.path.partition('/')[0]}` comes first"
    with drawbridge_client.connected(place.host, in_clear=place.in_clear, not_there=hint) as connection:
        body = b'{"public":false}' if private else b'{"public":true}'
        new = connection.put_bytes(place.path, body, "application/json")
    told = f"made {place.host}/{place.path}" if new else f"{place.host}/{place.path} is there already"
    context.emit(told, {"registry": place.host, "repository": place.path, "public": not private, "new": new})


@command.command()
@click.argument("repository")
@common_options("registry")
def show(context: Context, repository: str) -> None:
    """Show configuration and tags of REPOSITORY, which is [HOST/]USER/NAME."""
    from enarx_deploy import choice, drawbridge_client

    place = repository_of(context, repository)
    with drawbridge_client.connected(place.host, in_clear=place.in_clear) as connection:
        config = record(connection.get(place.path)[0], place.host)
    named = str(place)
    tags = choice.artifact_registry(named, context.plugins).tags(f"{named}:0.0.0")
    who = "everybody can read it" if config.get("public") else "private"
    shown = f"repository   {place.host}/{place.path} ({who})\ntags         {', '.join(tags) or 'none'}"
    context.emit(shown, {"config": config, "tags": tags})
