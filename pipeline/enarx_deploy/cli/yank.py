"""`enarx-deploy yank`: withdraw a package."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options


@click.command()
@common_options("registry")
@click.argument("reference")
@click.option("--reason", default="no reason given", metavar="TEXT", help="What whoever asks for it is told.")
def command(context: Context, reference: str, reason: str) -> None:
    """Withdraw the package that REFERENCE names: its tag gives no package any more, and the reason instead.

    Whoever has its digest can still fetch it, so that nothing breaks that is pinned. To stop it from running, deny its
    digest in the Steward's policy. Publishing the same package again takes the yank back.
    """
    from enarx_deploy import choice

    named = str(context.reference(reference))
    registry = choice.artifact_registry(named, context.plugins)
    with context.plugins.boundary():
        registry.yank(named, reason)
    context.emit(f"yanked {named}: {reason}", {"reference": named, "reason": reason})
