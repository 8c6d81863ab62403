"""`enarx-deploy doctor`: what works here, what is missing, and what to do about it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.tree import Finding, lines, nested
from enarx_deploy.errors import BuildError, EnarxDeployError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.protocols import MissingTool, Tool

_NEEDED = ("this program", "backends", "this project")
_FAULTY = 1
_UNNEEDED = "-   "  # the mark of what is not here, and is not needed either


@dataclass(frozen=True)
class Group:
    """Findings of a kind. Where it is `needed`, a miss makes the exit status 1; of the others one needs some."""

    name: str
    needed: bool
    ok: bool
    findings: list[Finding]

    @property
    def lacks(self) -> bool:
        """Whether a miss in it is a fault."""
        return self.needed and not self.ok


@click.command()
@common_options("manifest")
@click.option(
    "--fix",
    "fixes",
    multiple=True,
    metavar="TOOLCHAIN",
    help="Install what this toolchain misses, if PyPI or npm has it; can be repeated.",
)
def command(context: Context, fixes: tuple[str, ...]) -> int:
    """Look at this program, each toolchain, each backend and the project, and say what to do about each miss.

    Nothing is changed, but by --fix, which says each command before it runs it. The exit status is 1 where something
    FAILs: where this program or the project misses something, or no backend can be used. What is not here and not
    needed, such as another language's tool, has a dash. Of backends what is missing is shown; with -v, and by
    `platform`, all of it.
    """
    for name in fixes:
        _fix(context, name)
    groups = [
        _group("this program", _program(context)),
        _group("toolchains", _toolchains(context)),
        _group("backends", _backends(context), enough=any),
        _group("evidence of hardware", _guest()),
        *_project(context),
    ]
    ok = not any(group.lacks for group in groups)
    record = {"ok": ok, "groups": [asdict(group) for group in groups]}
    context.emit(
        lambda: "\n".join([*_tree(groups, everything=bool(context.verbosity)), "", _conclusion(groups)]),
        record,
    )
    return 0 if ok else _FAULTY


def _group(name: str, findings: Iterator[Finding], enough: Callable[[list[bool]], bool] = all) -> Group:
    found = list(findings)
    return Group(name, name in _NEEDED, enough([one.ok for one in found]), found)


def _program(context: Context) -> Iterator[Finding]:
    from enarx_deploy import __version__, paths
    from enarx_deploy.plugin_manager import KINDS

    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("version", True, f"{__version__}, on Python {python} ({sys.executable})")
    for name, place in (("state", paths.state_dir), ("cache", paths.cache_dir)):
        try:
            yield Finding(name, True, str(place()))
        except UsageError as error:
            yield Finding(name, False, str(error), error.hint)
    context.plugins.load()
    for kind in KINDS:  # one may load, and fail at what it is to bring
        context.plugins.registered(kind)
    for failed in context.plugins.failures:
        yield Finding(str(failed), False, f"failed to load: {failed.error}", "update it, or ENARX_DEPLOY_DISABLE it")


def _toolchains(context: Context) -> Iterator[Finding]:
    for toolchain in context.plugins.all("toolchain"):
        with context.plugins.boundary():
            yield _tool(toolchain.name, toolchain.find())


def _tool(name: str, found: Tool | MissingTool) -> Finding:
    from enarx_deploy.protocols import Tool

    if isinstance(found, Tool):
        return Finding(name, True, found.version)
    hint = f"{found.install}{f', or: enarx-deploy doctor --fix {name}' if found.command else ''}"
    return Finding(name, False, f"{found.name} is not here", hint, fix=name if found.command else "")


def _backends(context: Context) -> Iterator[Finding]:
    from enarx_deploy.cli.probes import head, probes

    for probe in probes(context):
        yield Finding(probe.backend, probe.available, head(probe).partition(": ")[2], parts=nested(probe.checks))


def _guest() -> Iterator[Finding]:
    """What a Keep on this machine would find evidence with, if the machine is itself a protected guest."""
    from enarx_deploy.machine import Machine, guest

    found = nested(list(guest(Machine())))
    if any(one.ok for one in found):
        yield from found
    else:
        yield Finding("evidence", True, "none here: this machine is no protected guest")


def _project(context: Context) -> Iterator[Group]:
    """The project in the directory, if there is one."""
    from enarx_deploy import choice, tools
    from enarx_deploy.project import MANIFEST_NAME

    try:
        project = context.project()
        with context.plugins.boundary():
            toolchain, why = choice.toolchain(project, context.plugins)
            found = tools.find(toolchain, project) if toolchain else None
    except EnarxDeployError as error:
        yield _group("this project", iter([Finding("project", False, str(error), error.hint)]))
        return
    if project.manifest_file is None and toolchain is None:
        return
    manifest = str(project.manifest_file) if project.manifest_file else f"no {MANIFEST_NAME}: the three streams"
    findings = [Finding("manifest", True, manifest)]
    if toolchain and found:
        findings.append(_tool(toolchain.name, found))
    else:
        hint = "name one in Enarx.toml: [build] toolchain = NAME"
        findings.append(Finding("toolchain", False, "none knows the sources here", hint))
    context.note(why)
    yield _group("this project", iter(findings))


def _fix(context: Context, name: str) -> None:
    """Install what a toolchain misses, one part after the other.

    Raises UsageError where no program may do that, BuildError where it fails.
    """
    from enarx_deploy.protocols import Tool

    toolchain = context.plugins.get("toolchain", name)
    installed: set[str] = set()
    while True:
        with context.plugins.boundary():
            found = toolchain.find()
        if isinstance(found, Tool):
            break
        if found.name in installed:
            raise BuildError(f"{name} does not find {found.name} after that", hint="was it installed elsewhere?")
        _install(name, found)
        installed.add(found.name)
    if not installed:
        context.note(f"{name}: {found.version} is here already")


def _install(name: str, missing: MissingTool) -> None:
    """Run the command that brings it, which is said before. Raises UsageError, BuildError."""
    if not missing.command:
        raise UsageError(f"{name} misses {missing.name}, which no registry brings", hint=missing.install)
    click.echo(f"installing {missing.name} from {missing.registry}: {shlex.join(missing.command)}", err=True)
    try:
        ended = subprocess.run(missing.command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    except OSError as error:
        raise BuildError(f"cannot start {missing.command[0]}: {error.strerror}", hint="install it first") from error
    if ended.returncode != 0:
        raise BuildError(f"{missing.command[0]} ended with status {ended.returncode}", hint="its own words are above")


def _tree(groups: list[Group], *, everything: bool) -> Iterator[str]:
    for group in groups:
        yield group.name
        yield from lines(group.findings, misses=not everything, miss="FAIL" if group.lacks else _UNNEEDED)


def _conclusion(groups: list[Group]) -> str:
    faulty = [group.name for group in groups if group.lacks]
    if faulty:
        return f"something is missing: see FAIL under {' and '.join(faulty)}"
    return "nothing that is needed here is missing; a dash marks what something else may need"
