"""`enarx-deploy service`: have a deployment of this machine started with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options

if TYPE_CHECKING:
    from enarx_deploy.host.systemd import Unit

_SYSTEM = click.option(
    "--system", is_flag=True, help="A unit of the machine's, which takes root. Default: one of yours."
)


@click.group()
@common_options()
def command(_context: Context) -> None:
    """Have a deployment of the target `local` started with the machine, by a unit of systemd.

    The unit runs the deployment's service process: it starts the Keeps, starts those again that end, and is itself
    started again. Keeps that run are taken over as they are.
    """


@command.command("install")
@common_options()
@_SYSTEM
@click.argument("name")
def install(context: Context, name: str, *, system: bool) -> None:
    """Write, check, enable and start the unit of the deployment NAME."""
    from enarx_deploy.host import services

    services.known(name)
    unit = _unit(name, system=system)
    left = unit.install()
    if left:
        context.note(left)
    context.emit(f"{unit.unit} is installed: {unit.path}", {"unit": unit.unit, "path": str(unit.path), "note": left})


@command.command("uninstall")
@common_options()
@_SYSTEM
@click.argument("name")
def uninstall(context: Context, name: str, *, system: bool) -> None:
    """Remove the unit of the deployment NAME. Its Keeps go on, looked after by a process in the background."""
    from enarx_deploy.host import services

    place, service = services.known(name)
    unit = _unit(name, system=system)
    unit.uninstall()
    if service.keeps:
        services.ensure_background(place)
    context.emit(f"{unit.unit} is removed", {"unit": unit.unit})


@command.command("status")
@common_options()
@click.argument("name", default="")
def status(context: Context, name: str) -> None:
    """Show whether NAME, or each deployment of this machine, starts with the machine and is looked after now."""
    from enarx_deploy.cli.table import table
    from enarx_deploy.host import services

    known = [services.known(name)] if name else list(services.everyone())
    rows = [_status(place, service) for place, service in known]
    head = ("NAME", "KEEPS", "VERSION", "PROCESS", "UNIT", "ENABLED", "ACTIVE")
    context.emit(
        lambda: (
            table(head, [tuple(str(value) for value in row.values()) for row in rows]) if rows else "no deployments"
        ),
        rows,
    )


@command.command("run")
@common_options()
@click.argument("name")
def run(context: Context, name: str) -> None:  # noqa: ARG001 - it says nothing of its own
    """Look after the deployment NAME in the foreground, as its unit does: for other init systems.

    It takes over from a process in the background, and the Keeps go on. SIGTERM ends the Keeps, to be started again by
    the next one; it returns when no Keep is left.
    """
    from enarx_deploy.host import service_process, services

    place, _ = services.known(name)
    services.take_over(place)
    service_process.serve(place)


def _unit(name: str, *, system: bool) -> Unit:
    from enarx_deploy.host.systemd import Unit

    return Unit(name, "system" if system else "user")


def _status(place: Any, service: Any) -> dict[str, Any]:
    from enarx_deploy.host import state, systemd

    unit = systemd.installed(service.name)
    serving = service.serving
    return {
        "name": service.name,
        "keeps": len(service.keeps),
        "version": serving.version.number if serving else 0,
        "process": "runs" if state.is_held(place) else "none",
        "unit": unit.unit if unit else "none",
        "enabled": unit.state("is-enabled") if unit else "no",
        "active": unit.state("is-active") if unit else "no",
    }
