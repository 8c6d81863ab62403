"""`enarx-deploy new`: a project from a template."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.template import Template

_EPILOG = """\b
Examples:
  enarx-deploy new --list          what templates there are
  enarx-deploy new echo my-echo    the template `echo`, in ./my-echo
  enarx-deploy new my-echo         the default template, which is `echo`
  enarx-deploy new rot13           the template `rot13`, in ./rot13

A project is a directory with an Enarx.toml and the sources of one program.
After `new`, `enarx-deploy up` takes it to a running service, or
`enarx-deploy run .` runs it, where it is no service. Each has tests that do
so, too: `python3 -m unittest` in its directory.
"""


@click.command(epilog=_EPILOG)
@common_options()
@click.argument("words", nargs=-1, metavar="[TEMPLATE] DIR")
@click.option("--list", "listing", is_flag=True, help="List the templates, and make nothing.")
def command(context: Context, words: tuple[str, ...], listing: bool) -> None:
    """Make a project in DIR, a directory that is new or empty, from TEMPLATE."""
    from enarx_deploy.template import create, templates

    known = templates()
    if listing:
        _list(context, known)
        return
    name, directory = _parse(words, known)
    root = Path(os.path.normpath(context.directory.absolute() / directory))
    files = create(known[name], root)
    steps = _next_steps(root)
    record = {"template": name, "directory": str(root), "files": files, "next": steps}
    made = f"Made {directory} from the template {name}: {', '.join(files)}"
    context.emit(lambda: "\n".join([made, "", "Next:", *(f"  {step}" for step in steps)]), record)


def _list(context: Context, known: dict[str, Template]) -> None:
    from enarx_deploy.cli.table import table

    rows = [(template.name, template.description) for template in known.values()]
    record = {"templates": [{"name": name, "description": description} for name, description in rows]}
    context.emit(lambda: table(("TEMPLATE", "WHAT IT IS"), rows), record)


def _parse(words: tuple[str, ...], known: dict[str, Template]) -> tuple[str, str]:
    """The template and the directory. One word is a directory, and a template of that name is then taken."""
    from enarx_deploy.template import DEFAULT

    if len(words) not in (1, 2):
        raise UsageError(
            "`new` takes a template and a directory",
            hint="such as: enarx-deploy new echo my-echo; `enarx-deploy new --list` shows the templates",
        )
    name = words[0] if len(words) == 2 or words[0] in known else DEFAULT
    if name not in known:
        raise UsageError(f"there is no template {name!r}", hint=_hint(name, known))
    return name, words[-1]


def _hint(name: str, known: dict[str, Template]) -> str:
    from enarx_deploy.manifest.faults import nearest

    near = nearest(name, known)
    return (
        f"did you mean `{near}`? `enarx-deploy new --list` shows all" if near else "`enarx-deploy new --list` shows all"
    )


def _next_steps(root: Path) -> list[str]:
    """What to type next: a service is started and verified, any other program is run to its end."""
    import shlex

    from enarx_deploy.manifest.types import Listen
    from enarx_deploy.project import load_project

    way = os.path.relpath(root)
    listening = [file for file in load_project(root).manifest.files if isinstance(file, Listen)]
    ports = [file.port for file in listening if file.prot == "tls"]
    steps = [] if way == "." else [f"cd {shlex.quote(way)}"]
    start = "enarx-deploy up" if listening else "enarx-deploy run ."
    return [*steps, start, *(f"enarx-deploy verify localhost:{port}" for port in ports[:1])]
