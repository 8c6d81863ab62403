"""`enarx-deploy platform`: what this machine offers for each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options

if TYPE_CHECKING:
    from enarx_deploy.models import Probe, ProbeCheck


@click.command()
@common_options("backend")
@click.argument("name", required=False, metavar="[BACKEND]")
def command(context: Context, name: str | None) -> None:
    """Look, check by check, at what each backend needs of this machine, and say what to do where it is missing."""
    asked = name or context.backend
    backends = [context.plugins.get("backend", asked)] if asked else context.plugins.all("backend")
    with context.plugins.boundary():
        probes = [backend.probe() for backend in sorted(backends, key=lambda backend: -backend.strength)]
    context.emit(lambda: "\n".join(map(_shown, probes)), probes)


def _shown(probe: Probe) -> str:
    state = "can be used here" if probe.available else "cannot be used here"
    protection = "protected by hardware" if probe.hardware else "no hardware protection"
    return "\n".join([f"{probe.backend}: {state} ({protection})", *map(_check, probe.checks)])


def _check(check: ProbeCheck) -> str:
    advice = f"\n       {check.hint}" if check.hint and not check.ok else ""
    return f"  {'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}{advice}"
