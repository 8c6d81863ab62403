"""`enarx-deploy platform`: what this machine offers for each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options

if TYPE_CHECKING:
    from enarx_deploy.models import Probe


@click.command()
@common_options("backend")
@click.argument("name", required=False, metavar="[BACKEND]")
@click.option("--retry", is_flag=True, help="Try again what was tried before, such as whether a guest boots with KVM.")
def command(context: Context, name: str | None, retry: bool) -> None:
    """Look, check by check, at what each backend needs of this machine, and say what to do where it is missing.

    Kinds of Keep without a backend here (kvm, snp, tdx, sgx) are shown with what this machine offers for one. Nothing
    is changed, and nothing started but with --retry.
    """
    from enarx_deploy.cli.probes import probes, try_again

    if retry:
        try_again(context, name or context.backend)
    found = probes(context, name or context.backend)
    context.emit(lambda: "\n".join(map(_shown, found)), found)


def _shown(probe: Probe) -> str:
    from enarx_deploy.cli.probes import head
    from enarx_deploy.cli.tree import lines, nested

    return "\n".join([head(probe), *lines(nested(probe.checks))])
