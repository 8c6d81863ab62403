"""`enarx-deploy lock`: write down what the project comes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages
from enarx_deploy.errors import LockError

if TYPE_CHECKING:
    from enarx_deploy.enarx_lock import Lock


@click.command()
@common_options("manifest", "backend", "target", "force", "sign")
def command(context: Context) -> None:
    """Compile, package and attest, and write the digests that come of it to Enarx.lock.

    With --locked, `compile`, `package`, `attest`, `deploy` and `up` refuse whatever differs from it, before anything is
    started: another module, package or toolchain, or other reference values. Keep the file in version control. For a
    second backend run it again, with --backend.
    """
    from enarx_deploy import enarx_lock

    made = {run.name: run.record for run in run_stages(context, until="attest")}
    root = context.project().root
    lock = enarx_lock.of(made["compile"], made["package"], made["attest"], _known(context, root))
    path = enarx_lock.save(root, lock)
    context.emit(f"{lock.package} {path}", lock)


def _known(context: Context, root: Path) -> Lock | None:
    """The lock as it was. One that nobody can read, such as after a merge, is written anew."""
    from enarx_deploy import enarx_lock

    try:
        return enarx_lock.load(root)
    except LockError as error:
        context.warn(f"what was locked of other backends and machines is lost, as {error}: lock them again")
        return None
