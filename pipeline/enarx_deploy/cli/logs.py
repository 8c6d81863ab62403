"""`enarx-deploy logs`: what a Keep wrote."""

from __future__ import annotations

import sys
from typing import Literal

import click

from enarx_deploy.cli.context import Context, common_options

Stream = Literal["stdout", "stderr", "host", "all"]


@click.command()
@common_options("target")
@click.argument("keep")
@click.option("-f", "--follow", is_flag=True, help="Go on until the Keep has ended.")
@click.option(
    "--stream",
    type=click.Choice(["stdout", "stderr", "host", "all"]),
    default="all",
    show_default=True,
    help="Which of its streams; `host` is what its host process has to say.",
)
def command(context: Context, keep: str, *, follow: bool, stream: Stream) -> None:
    """Show what KEEP wrote, byte for byte. KEEP is an id, the beginning of one, or a name.

    With --json one object per piece: {"keep", "text"}.
    """
    from enarx_deploy.cli.find_keep import find_keep

    found = find_keep(context, keep)
    out = sys.stdout.buffer
    for chunk in found.target.logs(found.status.id, follow=follow, stream=stream):
        out.write(_line(found.status.id, chunk) if context.json else chunk)
        out.flush()


def _line(keep: str, chunk: bytes) -> bytes:
    import msgspec

    return msgspec.json.encode({"keep": keep, "text": chunk.decode(errors="replace")}) + b"\n"
