"""The default `deploy`: the target looks first for what would go wrong, then starts the Keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.errors import UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import ReportsProgress

if TYPE_CHECKING:
    from enarx_deploy.models import Deployment, Package, ReferenceValues
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Backend, Progress, Target


@hookimpl
def deploy(
    project: Project,
    package: Package,
    reference_values: ReferenceValues,
    backend: Backend,
    target: Target,
    progress: Progress,
) -> Deployment:
    """Start one Keep. Raises UsageError, KeepError and what the target's check raises."""
    if project.settings.source is not None and not getattr(target, "keeps_fetch", False):
        raise UsageError(
            f"Keeps of target {target.name!r} do not fetch their package themselves",
            hint="--fetch-here has this machine fetch it and send it along",
        )
    progress(f"looking at target {target.name}")
    target.check(project, package, backend)
    progress(f"starting a {backend.name} Keep on target {target.name}")
    if isinstance(target, ReportsProgress):
        return target.start(project, package, reference_values, backend, progress)
    return target.start(project, package, reference_values, backend)
