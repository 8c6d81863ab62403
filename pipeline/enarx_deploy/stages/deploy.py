"""The default `deploy`: the target looks first for what would go wrong, then starts the Keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.errors import UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Elsewhere, ReportsProgress
from enarx_deploy.sizes import slow_to_compile

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
    progress(f"starting a {backend.name} Keep on target {target.name}{_compiling(package)}")
    known = _drawbacks(backend, target)
    for drawback in known:
        progress(drawback)
    if isinstance(target, ReportsProgress):
        deployment = target.start(project, package, reference_values, backend, progress)
    else:
        deployment = target.start(project, package, reference_values, backend)
    for drawback in _drawbacks(backend, target):
        if drawback not in known:  # found out by starting it
            progress(drawback)
    return deployment


def _compiling(package: Package) -> str:
    """What is worth to be known of a start that takes half a minute instead of a second."""
    slow = slow_to_compile(package)
    return f"; {slow} of wasm become native code, where they have not before" if slow else ""


def _drawbacks(backend: Backend, target: Target) -> list[str]:
    """What this machine lacks and Keeps of this kind start without, such as KVM where they can be emulated."""
    if isinstance(target, Elsewhere):
        return []
    probe = backend.probe()
    return [f"{check.name}: {check.detail}" for check in probe.checks if not check.required and not check.ok]
