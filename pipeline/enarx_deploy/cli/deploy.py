"""`enarx-deploy deploy`: start a Keep, or write what others can start it from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import ask_first, attest_first_options, run_stages
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.runner import StageRun


@click.command()
@common_options("manifest", "backend", "target", "cluster", "metrics", "force", "registry", "sign", "locked", "yes")
@attest_first_options
@click.option(
    "--render",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Start nothing: write the files from which others can, such as a GitOps controller.",
)
@click.argument("reference", default="")
def command(
    context: Context, reference: str, attest_first: bool | None, registry_roots: Path | None, render: Path | None
) -> None:
    """Compile, package and attest, and start a Keep, which then waits for its certificate.

    What would change is said first, as by `plan`; on a terminal you are then asked, unless --yes is given.
    `enarx-deploy up` goes on from there. With REFERENCE the package is fetched from its registry instead: by the Keep
    itself, once it has its certificate, where that is a Drawbridge that speaks TLS and REFERENCE ends in @sha256:HEX.

    With --render DIR nothing is started. The target writes what it would apply: for kubernetes, an image is pushed, and
    DIR is a base for Kustomize, of plain YAML that `kubectl apply --server-side -f DIR` takes as well.
    """
    runs = run_stages(
        context,
        until="attest" if render else "deploy",
        reference=reference,
        attest_first=attest_first,
        registry_roots=registry_roots,
        look=None if render else ask_first(context, "deploy"),
    )
    if render:
        written = _render(context, runs, render)
        context.emit("\n".join(written), {"files": written})
        return
    deployment = runs[-1].record
    context.emit(deployment.id, deployment)


def _render(context: Context, runs: list[StageRun], directory: Path) -> list[str]:
    """Write the target's files; returns their paths. Raises UsageError where the target has none."""
    from enarx_deploy import choice, rendering
    from enarx_deploy.cli.progress import reporter

    made = {run.name: run.record for run in runs}
    if "package" not in made:
        raise UsageError("--render is for a project, and not for a REFERENCE", hint="leave out the one or the other")
    project = context.project()
    backend, _ = choice.backend(project, context.plugins)
    target = rendering.renderer(choice.target(project, context.plugins))
    with reporter(context) as shown, context.plugins.boundary():
        files: Mapping[str, bytes] = target.render(project, made["package"], made["attest"], backend, shown.progress)
    return rendering.write(files, directory)
