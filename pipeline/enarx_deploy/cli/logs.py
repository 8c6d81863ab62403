"""`enarx-deploy logs`: what a Keep wrote, or all Keeps of a name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

Stream = Literal["stdout", "stderr", "host", "all"]


@click.command()
@common_options("target")
@click.argument("keep", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on until the Keep has ended.")
@click.option(
    "--stream",
    type=click.Choice(["stdout", "stderr", "host", "all"]),
    default="all",
    show_default=True,
    help="Which of its streams; `host` is what its host process has to say.",
)
def command(context: Context, keep: str, *, follow: bool, stream: Stream) -> None:
    """Show what KEEP wrote, byte for byte. KEEP is an id, the beginning of one, or a name; without, that of the project
    here.

    A name means all Keeps of that name that are alive. Where they are several, each line begins with the id of its
    Keep, and --follow goes on until the last of them has ended, with those that come meanwhile.

    With --json one object per piece: {"keep", "text"}.
    """
    from enarx_deploy.cli.find_keep import find_keeps
    from enarx_deploy.cli.several_logs import Several

    keep = keep or _of_project(context)
    found = find_keeps(context, keep)
    if len(found) > 1:
        several = Several(context, keep, found[0].target, stream, whole_lines=not context.json)
        _show(context, several.follow() if follow else several.so_far())
        return
    (only,) = found
    pieces = only.target.logs(only.status.id, follow=follow, stream=stream)
    _show(context, ((only.status.id, piece) for piece in pieces))


def _of_project(context: Context) -> str:
    """The name that the project in the directory has its Keeps called by. Raises UsageError where there is none."""
    project = context.project()
    if project.manifest_file is None:
        raise UsageError(
            "say whose log to show: there is no project here",
            hint="name a Keep; `enarx-deploy keeps` lists them",
        )
    return project.name


def _show(context: Context, pieces: Iterable[tuple[str, bytes]]) -> None:
    out = sys.stdout.buffer
    for keep, piece in pieces:
        out.write(_line(keep, piece) if context.json else piece)
        out.flush()


def _line(keep: str, piece: bytes) -> bytes:
    import msgspec

    return msgspec.json.encode({"keep": keep, "text": piece.decode(errors="replace")}) + b"\n"
