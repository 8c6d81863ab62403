"""`enarx-deploy lock`: write down what the project comes to."""

from __future__ import annotations

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages


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
    lock = enarx_lock.of(made["compile"], made["package"], made["attest"], enarx_lock.load(root))
    path = enarx_lock.save(root, lock)
    context.emit(f"{lock.package} {path}", lock)
