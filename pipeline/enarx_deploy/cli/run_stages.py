"""What the commands that run stages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from enarx_deploy.cli import PROGRAM
from enarx_deploy.cli.progress import reporter
from enarx_deploy.errors import ModuleError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.lint import Finding
    from enarx_deploy.models import Package, PackageSource, StageName
    from enarx_deploy.project import Project
    from enarx_deploy.runner import Reporter, StageRun

P = ParamSpec("P")
R = TypeVar("R")


def attest_first_options(function: Callable[P, R]) -> Callable[P, R]:
    """Give a command the options by which a Keep fetches its package itself."""
    roots = click.option(
        "--registry-roots",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="With --attest-first: the Keep believes a registry under these roots (PEM). Default: public ones.",
    )
    return click.option(
        "--attest-first",
        is_flag=True,
        help="Have the Keep attest, then fetch REFERENCE itself: this machine never sees it.",
    )(roots(function))


def run_stages(
    context: Context,
    *,
    until: StageName,
    reference: str = "",
    attest_first: bool = False,
    registry_roots: Path | None = None,
) -> list[StageRun]:
    """Run the project's stages up to `until`, and show how it goes.

    With `reference` there is no project: the package that it names is fetched, and the stages after that are run.
    """
    from enarx_deploy.runner import run

    if attest_first:
        with reporter(context) as shown:
            project, package, _ = unseen(context, reference, registry_roots)
            return run(project, context.plugins, shown, until=until, package=package)
    if registry_roots:
        raise UsageError("--registry-roots is for --attest-first", hint="this machine's own roots count otherwise")
    if reference:
        with reporter(context) as shown:
            project, package = _fetched(context, reference, shown)
            return run(project, context.plugins, shown, until=until, package=package)
    project = context.project()
    with reporter(context) as shown:
        runs = run(project, context.plugins, shown, until=until, make=not context.only_unchanged)
    context.skipped = all(one.skipped for one in runs)
    if any(one.name == "package" and not one.skipped for one in runs):
        module = runs[0].record
        for finding in least_privilege(project, Path(module.path), [project.root / name for name in module.inputs]):
            context.warn(f"{finding} ({finding.hint}); `{PROGRAM} lint` shows more")
    return runs


def least_privilege(project: Project, module: Path, sources: Iterable[Path] = ()) -> list[Finding]:
    """What the manifest grants the module too much or too little; nothing where that cannot be said."""
    from enarx_deploy import lint, wasm

    try:
        needed = lint.needs(wasm.load(module))
    except (UsageError, ModuleError):
        return []
    return [one for one in lint.findings(project, needed, sources=sources) if one.weight != "note"]


def unseen(context: Context, text: str, roots: Path | None) -> tuple[Project, Package, PackageSource]:
    """A package that the Keep fetches itself, the project that stands for it, and from where. Raises UsageError."""
    from enarx_deploy import attest_first, trusted_signers
    from enarx_deploy.project import deployed_as

    if not text:
        raise UsageError("--attest-first needs a reference", hint="HOST/USER/REPOSITORY:TAG@sha256:HEX")
    if context.trust:
        raise UsageError(
            "--trust asks for a signature, and with --attest-first this machine sees no package",
            hint="check it beforehand with `enarx-deploy fetch`; the digest names it from then on",
        )
    if context.signers is None and len(trusted_signers.load()):
        raise UsageError(
            "you trust keys, and with --attest-first this machine cannot see whether one of them signed the package",
            hint="check it beforehand with `enarx-deploy fetch`, then add --allow-unsigned: the digest names it",
        )
    reference = context.reference(text)
    here = context.directory

    def load(directory: Path) -> Project:
        context.directory = directory
        return context.project()

    source = attest_first.source(reference, roots)
    project, package = attest_first.project(reference, source, load)
    return project if project.settings.deploy else deployed_as(project, context.options, here), package, source


def _fetched(context: Context, text: str, shown: Reporter) -> tuple[Project, Package]:
    from enarx_deploy import fetching
    from enarx_deploy.project import deployed_as

    if context.overrides or context.manifest_file:
        raise UsageError(
            f"{text} is a package, whose manifest is part of what its digest names",
            hint="leave out --set and --manifest, or deploy the project that it was made of",
        )
    reference = context.reference(text)
    package = fetching.fetch(reference, context.plugins, shown.progress, signers=context.signers)
    if not reference.digest:
        shown.note(f"{reference} is {package.digest} today; {reference.pinned(package.digest)} is that package alone")

    here = context.directory

    def load(directory: Path, manifest: Path | None) -> Project:
        context.directory, context.manifest_file = directory, manifest
        return context.project()

    return deployed_as(fetching.project(reference, package, load), context.options, here), package
