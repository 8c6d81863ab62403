"""What the commands that run stages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.cli.progress import reporter
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from enarx_deploy.cli.context import Context
    from enarx_deploy.models import Package, StageName
    from enarx_deploy.project import Project
    from enarx_deploy.runner import Reporter, StageRun


def run_stages(context: Context, *, until: StageName, reference: str = "") -> list[StageRun]:
    """Run the project's stages up to `until`, and show how it goes.

    With `reference` there is no project: the package that it names is fetched, and the stages after that are run.
    """
    from enarx_deploy.runner import run

    if reference:
        with reporter(context) as shown:
            project, package = _fetched(context, reference, shown)
            return run(project, context.plugins, shown, until=until, package=package)
    project = context.project()
    with reporter(context) as shown:
        return run(project, context.plugins, shown, until=until)


def _fetched(context: Context, text: str, shown: Reporter) -> tuple[Project, Package]:
    from enarx_deploy import fetching

    if context.overrides or context.manifest_file:
        raise UsageError(
            f"{text} is a package, whose manifest is part of what its digest names",
            hint="leave out --set and --manifest, or deploy the project that it was made of",
        )
    reference = context.reference(text)
    package = fetching.fetch(reference, context.plugins, shown.progress)
    if not reference.digest:
        shown.note(f"{reference} is {package.digest} today; {reference.pinned(package.digest)} is that package alone")

    def load(directory: Path, manifest: Path | None) -> Project:
        context.directory, context.manifest_file = directory, manifest
        return context.project()

    return fetching.project(reference, package, load), package
