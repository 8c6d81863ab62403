"""What the commands that run stages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.cli.progress import reporter

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.models import StageName
    from enarx_deploy.runner import StageRun


def run_stages(context: Context, *, until: StageName) -> list[StageRun]:
    """Run the project's stages up to `until`, and show how it goes."""
    from enarx_deploy.runner import run

    project = context.project()
    with reporter(context) as shown:
        return run(project, context.plugins, shown, until=until)
