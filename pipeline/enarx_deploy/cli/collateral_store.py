"""Where the store of collateral is, for each command that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from enarx_collateral import Store

store_option = click.option(
    "--store",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="ENARX_DEPLOY_COLLATERAL_STORE",
    show_envvar=True,
    help="The store of collateral. Default: `collateral` in your state directory.",
)


def open_store(directory: Path | None) -> Store:
    """The store in `directory`, or the user's own."""
    from enarx_collateral import Store
    from enarx_deploy.paths import state_dir

    return Store(state_dir("collateral") if directory is None else directory.absolute())
