"""The group of all commands. A command's module is imported when that command is called, and not before.

A plugin's command is looked for when no built-in has the name, and is listed in the help.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import click

from enarx_deploy import __version__
from enarx_deploy.cli import PROGRAM
from enarx_deploy.cli.context import Context, group_options
from enarx_deploy.errors import EnarxDeployError, UsageError

COMMANDS = {
    "new": "Make a project from a template.",
    "check": "Check Enarx.toml, and say what is wrong with it.",
    "schema": "Print the JSON Schema of Enarx.toml.",
    "compile": "Build the sources to one wasm module.",
    "dev": "Build and serve anew whenever a source is saved.",
    "inspect": "Show what a module is made of, and what its imports let it do.",
    "lint": "Find grants without use, and needs that nothing grants.",
    "package": "Put module, manifest and assets into a content-addressed tree.",
    "lock": "Write down what the project comes to, for --locked.",
    "key": "Make keys that sign packages; say whose signatures are trusted.",
    "attest": "Say what the package must measure to on a backend.",
    "plan": "Say what up would change, before it does.",
    "deploy": "Start a Keep, which then waits for its certificate.",
    "up": "All of it: compile, package, attest, deploy, provision TLS.",
    "run": "Run a module, a directory or a package in a Keep, here and now.",
    "publish": "Put a package into a registry.",
    "fetch": "Get a package from a registry, and check it.",
    "info": "Say what a registry has under a reference.",
    "search": "List the packages of a registry.",
    "yank": "Withdraw a package; by its digest it can still be had.",
    "verify": "Check a running service: secure from whom, for how long, where.",
    "appraise": "Appraise evidence in a file, against vendors' endorsements.",
    "collateral": "Fetch, carry and show what vendors say about their hardware.",
    "keeps": "List the Keeps.",
    "top": "Show what the Keeps do now.",
    "metrics": "Show or serve the metrics of all Keeps.",
    "console": "Serve a page of the Keeps, their chains of trust and logs.",
    "logs": "Show what a Keep wrote.",
    "scale": "Have more or fewer Keeps serve a deployment.",
    "history": "List the versions of a deployment.",
    "rollback": "Serve an earlier version of a deployment again.",
    "service": "Have a deployment of this machine started with it.",
    "renew": "Give running Keeps new certificates; connections stay up.",
    "stop": "Stop Keeps.",
    "steward": "Run the Steward: it appraises evidence and issues certificates.",
    "user": "Log in at a Drawbridge, and register a user's name there.",
    "repo": "Make and show repositories of a Drawbridge.",
    "drawbridge": "Run a registry of packages, in Drawbridge's protocol.",
    "image": "Make and check the image that Keeps in virtual machines boot.",
    "plugins": "List the plugins, what they bring, and why one failed to load.",
    "doctor": "Look for what is missing here, and say what to do about it.",
    "platform": "Show what this machine offers for each backend.",
}
"""Name of each built-in command, which is also its module in this package, and its line in the help."""

_EPILOG = """\b
Exit statuses:
  0    done
  1    failed
  2    wrong usage, or a fault in the manifest or the module
  3    verification refused
  4    `plan --detailed-exitcode`: something would change
  130  interrupted
  `run` ends with the status of the workload.

\b
Each common option has an environment variable: ENARX_DEPLOY_BACKEND for
--backend, and so on. ENARX_BACKEND and ENARX_WASMCFGFILE are understood.
"""


class CommandGroup(click.Group):
    """Finds commands by the table above, then among the plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_plugin_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return cast(click.Command, import_module(f"enarx_deploy.cli.{cmd_name}").command)
        found = _plugin_commands(ctx).get(cmd_name)
        if found is not None and ctx.ensure_object(Context).json:
            ctx.default_map = {cmd_name: _asking_for_json(found)}
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        raise _no_such_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        try:
            rows = [(name, found.get_short_help_str(80)) for name, found in _plugin_commands(ctx).items()]
        except EnarxDeployError as error:  # help must be had even where plugins stand in each other's way
            rows = [("(none)", str(error))]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)


def _plugin_commands(ctx: click.Context) -> dict[str, click.Command]:
    return dict(sorted(ctx.ensure_object(Context).plugins.commands(taken=COMMANDS).items()))


def _asking_for_json(command: click.Command) -> dict[str, Any]:
    """Defaults that are as if `--json` had been given to a plugin's command, which does not know of ours."""
    if isinstance(command, click.Group):
        return {name: _asking_for_json(inside) for name, inside in command.commands.items()}
    return {one.name: True for one in command.params if one.name and "--json" in one.opts}


def _no_such_command(ctx: click.Context, name: str) -> UsageError:
    import difflib

    plugins = ctx.ensure_object(Context).plugins
    close = difflib.get_close_matches(name, [*COMMANDS, *_plugin_commands(ctx)], n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    message = f"there is no command {name!r}{meant}{plugins.suspicion(name)}"
    return UsageError(message, hint=f"`{PROGRAM} --help` lists the commands")


@click.group(
    cls=CommandGroup,
    epilog=_EPILOG,
    context_settings={
        "auto_envvar_prefix": "ENARX_DEPLOY",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@group_options
def app() -> None:
    """Build a program to WebAssembly, and serve it with TLS from inside a Keep that can prove what it is.

    Start with `enarx-deploy new echo my-echo`, then `enarx-deploy -C my-echo up`.
    """
