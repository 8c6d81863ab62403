"""`enarx-deploy run`: try a program in a Keep, here and now."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy import choice
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.progress import reporter
from enarx_deploy.cli.run_stages import attest_first_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.host.outcome import Outcome
    from enarx_deploy.host.session import Session
    from enarx_deploy.host.try_out import Watcher
    from enarx_deploy.project import Project

_STANDARD_ERROR = 2


@click.command()
@common_options("manifest", "backend", "metrics", "registry")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="Add to the workload's environment.")
@click.option(
    "--dir", "directories", multiple=True, metavar="HOST::GUEST", help="Copy a directory into the Keep's file system."
)
@click.option("--wasmcfgfile", metavar="FILE", type=click.Path(path_type=Path), help="As --manifest; Enarx's name.")
@attest_first_options
@click.argument("program")
@click.argument("args", nargs=-1, metavar="[-- ARGS]...")
def command(
    context: Context,
    program: str,
    args: tuple[str, ...],
    env: tuple[str, ...],
    directories: tuple[str, ...],
    wasmcfgfile: Path | None,
    attest_first: bool | None,
    registry_roots: Path | None,
) -> int:
    """Run PROGRAM in a Keep: a .wasm file, a project, a package's directory, or a package in a registry.

    With -C DIR, PROGRAM is looked for in DIR first. ARGS take the place of the manifest's `args`; a Python program's
    begin with /app/main.py, which is what its interpreter is to run.
    The workload has this command's standard input and output, and its exit status becomes this command's. A module
    without --manifest gets standard input, output and error, and nothing else. This machine fetches what is in a
    registry, unless --attest-first is given. Where the Keep ended otherwise: 124 if
    its time had run out, 159 if its jail refused a system call, 128 and the number if a signal ended it, else 1.

    \b
    Examples:
      enarx-deploy run hello.wasm
      enarx-deploy run tool.wasm --dir ./data::/data --env LEVEL=debug -- --input /data/a.csv
      enarx-deploy run my-echo --set files.echo.port=0
      enarx-deploy run --attest-first registry.example/team/tool:1.0.0@sha256:… --set steward=https://steward.example
    """
    _fill_standard_streams()
    program = _in_directory(context, program)
    if wasmcfgfile:
        context.manifest_file = wasmcfgfile
    with choice.prepared(context.backend, context.plugins, _STANDARD_ERROR):
        if registry_roots and not attest_first:
            raise UsageError("--registry-roots is for --attest-first", hint="`enarx-deploy fetch` has ENARX_CA_BUNDLE")
        if attest_first:
            return _run_unseen(context, program, registry_roots, alone=not (args or env or directories))
        return _run(context, program, args, env, directories)


def _in_directory(context: Context, program: str) -> str:
    """The program with the directory of -C before it, where there is something of that name."""
    place = context.directory / program
    return str(place) if place.exists() else program


def _run_unseen(context: Context, program: str, roots: Path | None, *, alone: bool) -> int:
    from enarx_deploy.cli.run_stages import believe, unseen
    from enarx_deploy.host import try_out
    from enarx_deploy.host.session import Grants

    if not alone:
        raise UsageError(
            "arguments, --env and --dir are not for a package that this machine does not see",
            hint="leave them out, or leave out --attest-first",
        )
    believe(context.reference(program), roots)
    with reporter(context) as shown:
        project, package = unseen(context, program, shown)
    ending = _Ending()
    signal.signal(signal.SIGTERM, ending.take)
    source = project.settings.source
    assert source is not None  # noqa: S101 - it was just found
    made = try_out.Unseen(program, package, project.manifest, source)
    outcome, session = try_out.run(made, project, context.plugins, Grants(), _watcher(context, ending))
    return ending.status or _answer(context, outcome, session)


def _run(
    context: Context, program: str, args: tuple[str, ...], env: tuple[str, ...], directories: tuple[str, ...]
) -> int:
    from enarx_deploy.host import try_out
    from enarx_deploy.host.session import Grants

    grants = Grants(args=args or None, env=_environment(env), mounts=[_mount(one) for one in directories])
    project = _project(context, program)
    changes = bool(context.overrides or context.manifest_file)
    ending = _Ending()
    signal.signal(signal.SIGTERM, ending.take)
    host = context.registry_host
    with try_out.Program(
        program, project, context.plugins, changes=changes, registry_host=host, signers=context.signers
    ) as made:
        with reporter(context) as shown:
            made.prepare(shown)
        outcome, session = try_out.run(made, project, context.plugins, grants, _watcher(context, ending))
    return ending.status or _answer(context, outcome, session)


def _fill_standard_streams() -> None:
    """Where the caller has closed one (`<&-`), it is empty; else the next file that is opened would stand for it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class _Ending:
    """What a signal to end does: before a Keep serves, and the second time, everything ends at once; else the Keep
    accepts no more, and open connections have a while. The status is what shells make of the signal."""

    def __init__(self) -> None:
        self.status = 0
        self._session: Session | None = None

    def watch(self, session: Session) -> None:
        """What is to be drained, once there may be connections."""
        self._session = session

    def take(self, number: int, _: object) -> None:
        """The signal's handler."""
        from enarx_deploy.host.session import DEFAULT_GRACE

        again, self.status = self.status, 128 + number
        if again or self._session is None or not self._session.may_have_clients:
            sys.exit(self.status)
        threading.Thread(target=self._session.stop, args=(DEFAULT_GRACE,), name="drain", daemon=True).start()


def _project(context: Context, program: str) -> Project:
    """The manifest that is meant: of the directory where one is named, else as given, else Enarx's default."""
    if Path(program).is_dir():
        context.directory = Path(program)
        return context.project()
    import tempfile

    with tempfile.TemporaryDirectory(prefix="enarx-run.") as empty:
        context.directory = Path(empty)
        return context.project()


def _environment(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise UsageError(f"--env {pair}: not NAME=VALUE", hint="for example --env LEVEL=debug")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _mount(pair: str) -> tuple[Path, str]:
    host, separator, guest = pair.partition("::")
    if not separator or not guest.startswith("/"):
        raise UsageError(f"--dir {pair}: not HOST::GUEST", hint="for example --dir ./data::/data")
    if not Path(host).is_dir():
        raise UsageError(f"--dir {pair}: {host} is not a directory", hint="name a directory of this machine")
    return Path(host), guest


def _watcher(context: Context, ending: _Ending) -> Watcher:
    from enarx_deploy.host.try_out import Watcher

    def made(session: Session) -> None:
        session.on_wait = context.note
        ending.watch(session)

    return Watcher(context.note if context.verbosity else _say_nothing, made, context.warn)


def _say_nothing(line: str) -> None:
    """For what only `-v` wants to hear."""


def _answer(context: Context, outcome: Outcome, session: Session) -> int:
    """The workload has standard output to itself, so what there is to say goes to standard error."""
    if context.json:
        import json

        record = {
            "outcome": outcome.kind,
            "code": outcome.code,
            "message": outcome.message,
            "limits": session.limits,
            "phases": session.phases,
        }
        click.echo(json.dumps(record), err=True)
        return outcome.exit_status
    for line in filter(None, [outcome.explanation, *session.limits]):
        click.echo(f"enarx-deploy: {line}", err=True)
    return outcome.exit_status
