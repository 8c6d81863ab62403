"""`enarx-deploy info`: what a registry has under a reference."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options

if TYPE_CHECKING:
    from enarx_deploy.models import Published
    from enarx_deploy.protocols import Attachment


@click.command()
@common_options("registry")
@click.argument("reference")
def command(context: Context, reference: str) -> None:
    """Say what the registry has under REFERENCE: digest, size, tags, and what is attached.

    This is the registry's word. `enarx-deploy fetch` gets the package itself, and checks it.
    """
    from enarx_deploy import choice

    named = str(context.reference(reference))
    registry = choice.artifact_registry(named, context.plugins)
    with context.plugins.boundary():
        published = registry.resolve(named)
        attached = [_record(one) for one in registry.attachments(published.reference)]
    context.emit(lambda: _shown(published, attached), {"package": published, "attachments": attached})


def _record(attachment: Attachment) -> dict[str, Any]:
    return {
        "kind": attachment.kind,
        "media_type": attachment.media_type,
        "size": len(attachment.content),
        "digest": f"sha256:{hashlib.sha256(attachment.content).hexdigest()}",
    }


def _shown(published: Published, attached: list[dict[str, Any]]) -> str:
    from enarx_deploy.sizes import size

    rows = [
        ("reference", published.reference),
        ("package", published.digest),
        ("size", size(published.size)),
        ("tags", ", ".join(published.tags) or "none"),
        *([("yanked", published.yanked)] if published.yanked else []),
        *published.details.items(),
        *((one["kind"], f"{one['media_type']}, {size(one['size'])}, {one['digest']}") for one in attached),
    ]
    return "\n".join(f"{label:<12} {text}" for label, text in rows)
