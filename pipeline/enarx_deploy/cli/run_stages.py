"""What the commands that run stages share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from enarx_deploy.cli import PROGRAM
from enarx_deploy.cli.progress import is_terminal, reporter
from enarx_deploy.errors import EnarxDeployError, ModuleError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.cli.progress import Reporting
    from enarx_deploy.lint import Finding
    from enarx_deploy.models import Package, StageName
    from enarx_deploy.project import Project
    from enarx_deploy.reference import Reference
    from enarx_deploy.runner import Reporter, StageRun
    from enarx_deploy.steps import Work

_OF_THIS_MACHINE = ("dir", "file")
"""Schemes of what no Keep has to fetch, since it lies here."""
_OF_DEPLOYMENTS = "deploy."
"""How the keys begin that no package has."""
Look = Callable[["Work", "Reporting"], None]
P = ParamSpec("P")
R = TypeVar("R")


def attest_first_options(function: Callable[P, R]) -> Callable[P, R]:
    """Give a command the options that say who fetches a package: its Keep, or this machine."""
    roots = click.option(
        "--registry-roots",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Believe a Drawbridge under these roots alone (PEM), here and in the Keep.",
    )
    return click.option(
        "--attest-first/--fetch-here",
        default=None,
        help="Who fetches REFERENCE: the Keep itself, once it is certified, so that this machine never sees it; or "
        "this machine.",
    )(roots(function))


def run_stages(
    context: Context,
    *,
    until: StageName,
    reference: str = "",
    attest_first: bool | None = None,
    registry_roots: Path | None = None,
    look: Look | None = None,
) -> list[StageRun]:
    """Run the project's stages up to `until`, and show how it goes.

    With `reference` there is no project: the package that it names is fetched, and the stages after that are run. The
    Keep fetches it where it can, unless `attest_first` says otherwise. `look` is called before anything is deployed;
    what it raises ends the run.
    """
    from enarx_deploy.runner import run

    def looked(shown: Reporting) -> Callable[[Work], None] | None:
        return (lambda work: look(work, shown)) if look else None

    if reference:
        with reporter(context) as shown:
            project, package = _referred(context, reference, attest_first, registry_roots, shown)
            return run(project, context.plugins, shown, until=until, package=package, look=looked(shown))
    if attest_first is not None or registry_roots:
        raise UsageError(
            "--attest-first, --fetch-here and --registry-roots are for a reference",
            hint="HOST/USER/REPOSITORY:TAG@sha256:HEX",
        )
    project = context.project()
    with reporter(context) as shown:
        runs = run(project, context.plugins, shown, until=until, make=not context.only_unchanged, look=looked(shown))
    context.skipped = all(one.skipped for one in runs)
    if any(one.name == "package" and not one.skipped for one in runs):
        module = runs[0].record
        for finding in least_privilege(project, Path(module.path), [project.root / name for name in module.inputs]):
            context.warn(f"{finding} ({finding.hint}); `{PROGRAM} lint` shows more")
    return runs


def _referred(
    context: Context, text: str, attest_first: bool | None, roots: Path | None, shown: Reporter
) -> tuple[Project, Package]:
    believe(context.reference(text), roots)
    if attest_first is None:
        attest_first = _by_the_keep(context, text, shown)
    if attest_first:
        return unseen(context, text, shown)
    return _fetched(context, text, shown)


def believe(reference: Reference, roots: Path | None) -> None:
    """Have a registry believed under these roots alone. Raises UsageError."""
    from enarx_deploy.reference import SLUG_SCHEME, named_roots

    if roots and reference.scheme != SLUG_SCHEME:
        raise UsageError("--registry-roots is for a Drawbridge", hint="this machine's own roots count otherwise")
    named_roots.set(str(roots) if roots else "")


def _by_the_keep(context: Context, text: str, shown: Reporter) -> bool:
    """Whether the Keep fetches what nobody said who should; where it cannot, the reason is told."""
    from enarx_deploy import attest_first

    reference = context.reference(text)
    target = context.named_target() if context.target else None
    why = attest_first.objection(reference, context.plugins, target)
    if why and reference.digest and reference.scheme not in _OF_THIS_MACHINE:
        shown.note(f"this machine fetches the package, not the Keep: {why} (--fetch-here says the same)")
    return not why


def ask_first(context: Context, until: StageName) -> Look:
    """Say what a run up to `until` will change before it does, and ask where somebody is there to answer."""
    nothing = ("none", "certify") if until == "deploy" else ("none",)

    def look(work: Work, shown: Reporting) -> None:
        from enarx_deploy import plan
        from enarx_deploy.cli.show_plan import shown as as_text

        found = plan.make(work)
        if found.action in nothing:
            return
        asked = not context.yes and is_terminal(sys.stdin) and is_terminal(sys.stderr)
        with shown.aside():
            if asked or not (context.quiet or context.json):
                click.echo(as_text(found), err=True)
            if asked and not click.confirm("Do this?", err=True):
                raise EnarxDeployError("nothing was deployed, as you answered", hint="--yes does it without asking")

    return look


def least_privilege(project: Project, module: Path, sources: Iterable[Path] = ()) -> list[Finding]:
    """What the manifest grants the module too much or too little; nothing where that cannot be said."""
    from enarx_deploy import lint, wasm

    try:
        needed = lint.needs(wasm.load(module))
    except (UsageError, ModuleError):
        return []
    return [one for one in lint.findings(project, needed, sources=sources) if one.weight != "note"]


def unseen(context: Context, text: str, shown: Reporter) -> tuple[Project, Package]:
    """A package that the Keep fetches itself, and the project that stands for it. Raises UsageError."""
    from enarx_deploy import attest_first
    from enarx_deploy.project import deployed_as

    reference = context.reference(text)
    here = context.directory

    def load(directory: Path) -> Project:
        context.directory = directory
        return context.project()

    source = attest_first.source(reference, context.plugins, context.signers, shown)
    project, package = attest_first.project(reference, source, load)
    return project if project.settings.deploy else deployed_as(project, context.options, here), package


def _fetched(context: Context, text: str, shown: Reporter) -> tuple[Project, Package]:
    from enarx_deploy import fetching
    from enarx_deploy.project import deployed_as

    overrides, context.overrides = context.overrides, ()
    if context.manifest_file or not all(one.startswith(_OF_DEPLOYMENTS) for one in overrides):
        raise UsageError(
            f"{text} is a package, whose manifest is part of what its digest names",
            hint=f"only `--set {_OF_DEPLOYMENTS}…` can be given; or deploy the project that it was made of",
        )
    reference = context.reference(text)
    package = fetching.fetch(reference, context.plugins, shown.progress, signers=context.signers)
    if not reference.digest:
        shown.note(f"{reference} is {package.digest} today; {reference.pinned(package.digest)} is that package alone")

    here = context.directory

    def load(directory: Path, manifest: Path | None) -> Project:
        context.directory, context.manifest_file = directory, manifest
        return context.project()

    return deployed_as(fetching.project(reference, package, load), context.options, here, overrides), package
