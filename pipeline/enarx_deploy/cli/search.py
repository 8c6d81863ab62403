"""`enarx-deploy search`: the packages of a registry."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.models import Published

_HEAD = ("PACKAGE", "SIZE", "YANKED")


@click.command()
@common_options("registry")
@click.argument("place", default="")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Packages to list.")
def command(context: Context, place: str, words: tuple[str, ...], limit: int) -> None:
    """List the packages in PLACE whose name has each WORD in it.

    PLACE is a registry, a part of one, or a repository, such as oci://registry.example, oci://registry.example/team or
    dir:./packages; without it the registry of --host. Many registries tell strangers nothing but a repository's tags.
    """
    from enarx_deploy import choice

    named = _place(context, place)
    registry = choice.artifact_registry(named, context.plugins)
    with context.plugins.boundary():
        found = list(islice(registry.search(named, words), limit + 1))
    if len(found) > limit:
        context.note(f"there are more than {limit}: --limit shows them, or add a WORD")
    context.emit(lambda: _shown(found[:limit]), found[:limit])


def _place(context: Context, place: str) -> str:
    place = place or context.registry_host
    if not place:
        raise UsageError("say where to search", hint="name a registry, or give --host; none is built in")
    return place if ":/" in place or place.startswith("dir:") else f"drawbridge://{place}"


def _shown(found: list[Published]) -> str:
    from enarx_deploy.cli.table import table
    from enarx_deploy.sizes import size

    rows = [(one.reference, size(one.size), one.yanked or "-") for one in found]
    return table(_HEAD, rows) if rows else "no package was found"
