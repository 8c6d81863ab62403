"""`enarx-deploy platform`: what this machine offers for each backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.collateral_store import store_option
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.models import Probe


@click.command()
@click.argument("name", required=False, metavar="[BACKEND]")
@click.option("--retry", is_flag=True, help="Try again what was tried before, such as whether a guest boots with KVM.")
@click.option(
    "--quote", metavar="FILE", type=click.Path(path_type=Path), help="tdx, sgx: a quote of this machine, for its level."
)
@store_option
@common_options("backend")
def command(context: Context, name: str | None, retry: bool, quote: Path | None, store: Path | None) -> None:
    """Look, check by check, at what each backend needs of this machine, and say what to do where it is missing.

    Nothing is changed, and nothing started but with --retry.

    Where there is hardware, its patch level (TCB) is held to the store of collateral, and to the policy of your own
    Steward: a machine that is behind can be used, and may be refused.
    """
    from enarx_deploy.cli.patch_levels import with_patch_level
    from enarx_deploy.cli.probes import probes, try_again

    if retry:
        try_again(context, name or context.backend)
    asked = name or context.backend
    found = [with_patch_level(probe, quote, store) for probe in probes(context, asked)]
    if quote is not None and not (len(found) == 1 and found[0].backend in ("tdx", "sgx")):
        raise UsageError("--quote is of one kind of Keep", hint="name it: `enarx-deploy platform tdx --quote FILE`")
    context.emit(lambda: "\n".join(map(_shown, found)), found)


def _shown(probe: Probe) -> str:
    from enarx_deploy.cli.probes import head
    from enarx_deploy.cli.tree import lines, nested

    return "\n".join([head(probe), *lines(nested(probe.checks))])
