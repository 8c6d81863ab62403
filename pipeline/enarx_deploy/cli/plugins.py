"""`enarx-deploy plugins`: what is installed, what each plugin brings, and why one failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options

if TYPE_CHECKING:
    from enarx_deploy.plugin_manager import Plugin

_HEAD = ("PLUGIN", "FROM", "STATE", "BRINGS", "HOOKS")


@click.command()
@common_options()
def command(context: Context) -> None:
    """List the plugins: each with its distribution, its hooks and what it provides, or why it failed to load."""
    from enarx_deploy.plugin_manager import KINDS

    manager = context.plugins
    manager.load()
    for kind in KINDS:
        manager.registered(kind)
    manager.commands()
    context.emit(lambda: _shown(manager.plugins), [_record(plugin) for plugin in manager.plugins])


def _record(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "module": plugin.module,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "hooks": list(plugin.hooks),
        "providers": [{"kind": kind, "name": name} for kind, name in plugin.providers],
        "error": plugin.error,
    }


def _shown(plugins: list[Plugin]) -> str:
    from enarx_deploy.cli.table import table

    rows = [_row(plugin) for plugin in plugins]
    errors = [f"{plugin} failed to load: {plugin.error}" for plugin in plugins if plugin.error]
    return "\n".join([table(_HEAD, rows), *errors])


def _row(plugin: Plugin) -> tuple[str, ...]:
    brings = ", ".join(f"{kind} {name}" for kind, name in plugin.providers) or "-"
    origin = f"{plugin.distribution} {plugin.version}"
    return (plugin.name, origin, plugin.state, brings, ", ".join(plugin.hooks) or "-")
