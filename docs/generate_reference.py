"""Writes docs/reference: hooks, command line and the Steward's OpenAPI, from docstrings, options and types.

    python docs/generate_reference.py            write the pages
    python docs/generate_reference.py --check    say which are not current; exit status 1 if any

`tests/cli/test_reference.py` does the latter.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec

from enarx_deploy import errors, hookspecs, models
from enarx_deploy.cli import app as application
from enarx_deploy.cli.context import common_environment
from enarx_deploy.protocols import backend, issuer, registry, target, toolchain
from enarx_steward import openapi

PLACE = Path(__file__).parent / "reference"
_MADE = "<!-- Made by docs/generate_reference.py from the code: change it there. -->\n"

_HOOKS_HEAD = """\
# Hooks

A plugin is a module that an entry point of the group `enarx_deploy` names, with functions marked `@hookimpl`. It
imports `enarx_deploy.hookspecs`, `.protocols`, `.models`, `.errors`, `.paths`, `.project` and `.tools`, and nothing
else of enarx-deploy. What this distribution ships takes the same road: `enarx-deploy plugins` lists all of it.

```toml
[project.entry-points.enarx_deploy]
mine = "my_package.plugin"
```

```python
from enarx_deploy.hookspecs import hookimpl

@hookimpl
def register_toolchains():
    return [MyLanguage()]
```

`tests/sample_plugin` is a whole one: a source language, a backend and a command.

What holds for all:

- An implementation names only the arguments that it uses; they are passed by name.
- Plugins are asked before the defaults. Among plugins, the one whose name sorts last is asked first; `tryfirst` and
  `trylast` change that. A stage can be wrapped: `@hookimpl(wrapper=True)` and one `yield`.
- A plugin that fails to load, or that has a hook of a name that does not exist, is reported with its cause and left
  out. An error that asks for what it would have brought names it.
- Two plugins of one name, and two providers of one kind and name, are refused, naming both.
- What plugin code raises, other than an `EnarxDeployError`, is shown as a `PluginError` that names the plugin.
- Importing a plugin must be cheap: import what is heavy where it is used.
- `ENARX_DEPLOY_DISABLE=a,b` leaves out plugins, or whole distributions, by name; a default stage is called
  `stages.compile`, and so on. `--trace-hooks` shows each hook call.
"""

_CLI_HEAD = """\
# Command line

"""


def hooks_page() -> str:
    """The page about hooks, providers, records and errors."""
    specs = [value for value in vars(hookspecs).values() if hasattr(value, f"{hookspecs.NAME}_spec")]
    stages = [spec for spec in specs if not spec.__name__.startswith("register_")]
    registrations = [spec for spec in specs if spec.__name__.startswith("register_")]
    parts = [
        _HOOKS_HEAD,
        "## Stages\n\nCalled in this order; the first answer that is not None counts.\n",
        *map(_hook, stages),
        "## Registrations\n\nEach returns objects of one protocol; a generator will do.\n",
        *map(_hook, registrations),
        "## Protocols\n\nWhat a provider implements, and what it is handed.\n",
        *(_protocol(node) for kind in (toolchain, backend, issuer, target, registry) for node in _classes(kind)),
        "## Records\n\nWhat stages hand to one another; frozen, and saved as JSON under `.enarx/records`.\n",
        *map(_record, _classes(models)),
        f"## Errors\n\n```text\n{_error_tree()}\n```\n",
    ]
    return _MADE + "\n" + "\n".join(parts)


def cli_page() -> str:
    """The page about commands, options, environment variables and exit statuses."""
    group = application.app
    context = click.Context(group, info_name="enarx-deploy")
    commands = dict(_commands())
    named: list[set[str | None]] = [{option.name for option in command.params} for command in commands.values()]
    everywhere = set.intersection(*named)
    parts = [
        _CLI_HEAD + _text(group.help),
        _epilog(group),
        "## Options of every command\n\nThey mean the same before the command's name; the later one wins.\n",
        _options(group, context, lambda option: option.name in everywhere),
        "## Environment\n",
        _environment(),
        "## Commands\n",
        *(_command(name, command, context, everywhere) for name, command in commands.items()),
    ]
    return _MADE + "\n" + "\n".join(parts)


def openapi_document() -> str:
    """What a Steward answers at `/v1/openapi.json`, in lines."""
    return msgspec.json.format(msgspec.json.encode(openapi.document())).decode() + "\n"


def _commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its words; a group is followed by its own commands."""
    for name in application.COMMANDS:
        command = import_module(f"enarx_deploy.cli.{name}").command
        yield from _below(name, command)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word, found in command.commands.items():
            yield from _below(f"{name} {word}", found)


PAGES: dict[str, Callable[[], str]] = {
    "hooks.md": hooks_page,
    "cli.md": cli_page,
    "steward-openapi.json": openapi_document,
}


def main(arguments: list[str]) -> int:
    """Write or check the pages; returns the exit status."""
    stale = [name for name, page in PAGES.items() if _current(name) != page()]
    if "--check" in arguments:
        print("\n".join(f"{PLACE / name} is not current" for name in stale))
        return 1 if stale else 0
    PLACE.mkdir(exist_ok=True)
    for name in stale:
        (PLACE / name).write_text(PAGES[name]())
    return 0


def _current(name: str) -> str:
    path = PLACE / name
    return path.read_text() if path.exists() else ""


def _hook(spec: Callable[..., Any]) -> str:
    arguments = ", ".join(inspect.signature(spec).parameters)
    returns = inspect.signature(spec).return_annotation
    return f"### `{spec.__name__}({arguments})` → `{returns}`\n\n{_text(spec.__doc__)}"


def _classes(module: Any) -> Iterator[ast.ClassDef]:
    """The classes of a module in the order of its source, which holds what reflection loses: names as written."""
    return (node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef))


def _protocol(node: ast.ClassDef) -> str:
    methods = [
        f"- `{item.name}({ast.unparse(item.args).removeprefix('self, ').removeprefix('self')})"
        f"{f' -> {ast.unparse(item.returns)}' if item.returns else ''}`: {_line(ast.get_docstring(item))}"
        for item in node.body
        if isinstance(item, ast.FunctionDef)
    ]
    return "\n".join([f"### {node.name}\n", _text(ast.get_docstring(node)), *_fields(node), *methods, ""])


def _record(node: ast.ClassDef) -> str:
    return "\n".join([f"### {node.name}\n", _text(ast.get_docstring(node)), *_fields(node), ""])


def _fields(node: ast.ClassDef) -> list[str]:
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return [
        f"- `{ast.unparse(item.target)}`: `{ast.unparse(item.annotation)}`"
        f"{f', default `{ast.unparse(item.value)}`' if item.value else ''}"
        for item in fields
    ]


def _error_tree() -> str:
    (tree,) = re.findall(r"^ {4}\S.*(?:\n {4}.+)*", errors.__doc__ or "", re.MULTILINE)
    return inspect.cleandoc(tree)


def _command(name: str, command: click.Command, parent: click.Context, everywhere: set[str | None]) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    options = _options(command, context, lambda option: option.name not in everywhere)
    return f"### `enarx-deploy {name} {usage}`\n\n{_text(command.help)}\n{options}".rstrip() + "\n"


def _options(command: click.Command, context: click.Context, wanted: Callable[[click.Option], bool]) -> str:
    options = [option for option in command.params if isinstance(option, click.Option) and wanted(option)]
    return "".join(f"{line}\n" for line in (_option(option, context) for option in options) if line)


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    return "" if record is None else f"- `{record[0]}`: {_line(record[1])}"


def _environment() -> str:
    rows = [f"| `{name}` | `{word}` |" for name, word in common_environment()]
    return "\n".join(["| variable | option |", "|---|---|", *rows, ""]) + (
        "\nAn option of a single command has one too: `ENARX_DEPLOY_STOP_GRACE` is `stop --grace`. "
        "`ENARX_DEPLOY_STATE_DIR` and `ENARX_DEPLOY_CACHE_DIR` name the directories for state and caches, "
        "`ENARX_DEPLOY_DISABLE` the plugins to leave out.\n"
    )


def _epilog(group: click.Command) -> str:
    text = (group.epilog or "").split("\b\n")[1].rstrip()
    return f"```text\n{text}\n```\n"


def _text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").replace("\b\n", "") + "\n"


def _line(docstring: str | None) -> str:
    return " ".join((docstring or "").split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
