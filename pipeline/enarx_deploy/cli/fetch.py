"""`enarx-deploy fetch`: get a package from a registry."""

from __future__ import annotations

from pathlib import Path

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.progress import reporter


@click.command()
@common_options("registry")
@click.argument("reference")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Lay the package out in DIR/DIGEST instead of the cache.",
)
def command(context: Context, reference: str, into: Path | None) -> None:
    """Get the package that REFERENCE names, check every file of it, and print its digest and its directory.

    With `@sha256:HEX` at the end of REFERENCE it is that package, whatever the registry says, or an error. Without, it
    is what the registry says it is.

    If you trust keys (`enarx-deploy key`), one of them must have signed the package. What is attached to it is kept in
    DIGEST.attachments beside its directory.

    \b
    Examples:
      enarx-deploy fetch oci://registry.example/team/my-echo:1.0.0
      enarx-deploy fetch registry.example/team/my-echo:1.0.0 --into ./packages
    """
    from enarx_deploy import fetching

    named = context.reference(reference)
    with reporter(context) as shown:
        package = fetching.fetch(named, context.plugins, shown.progress, into and into.absolute(), context.signers)
    context.emit(
        f"{package.digest} {package.root}",
        {"reference": str(named.pinned(package.digest)), "package": package},
    )
