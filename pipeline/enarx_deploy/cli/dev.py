"""`enarx-deploy dev`: build, serve, and do both again whenever a source is saved."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import EnarxDeployError

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from enarx_deploy.host.development import Development, Running
    from enarx_deploy.host.outcome import Outcome
    from enarx_deploy.host.session import Stdio
    from enarx_deploy.models import Package, StageName
    from enarx_deploy.project import Project
    from enarx_deploy.runner import StageRun

_MOST_LINES = 200  # of a tool's words that are shown when a build fails


@click.command()
@common_options("manifest", "backend")
@click.option("--poll", is_flag=True, help="Look at files now and then, where the file system tells no changes.")
def command(context: Context, poll: bool) -> None:
    """Build the project, run it in a Keep, and build and run it anew whenever a file that it is made of changes.

    The port stays open from one Keep to the next: who connects meanwhile waits, and nobody is refused. Where the build
    fails, or the new Keep does not start, that is shown and the Keep before goes on serving. What the workload writes
    comes out here. Certificates come from the manifest's issuer, as with `up`. Ctrl-C ends it all.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    Loop(context, poll=poll).run()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Loop:
    """Builds and serves, again and again."""

    def __init__(self, context: Context, *, poll: bool) -> None:
        from enarx_deploy.host.development import Development

        self._context = context
        self._poll = poll
        self._package = ""
        self._serving: Running | None = None
        self._failure = ""
        self._failed = False
        self._noted: set[str] = set()
        self._watched: frozenset[Path] = frozenset()
        self._development: Development = Development(
            context.plugins, self._stdio(), tell=self._note, ended=self._say_that_it_ended
        )

    def run(self) -> None:
        """Go on until interrupted. Raises EnarxDeployError where there is nothing to begin with."""
        from enarx_deploy import watch

        changes: Iterator[None] = iter(())
        try:
            self._context.project()
            while True:
                self._once()
                watched = self._folders()
                if watched == self._watched:
                    next(changes)
                    self._failure = ""
                else:  # and look again: something may have changed before these folders were watched
                    self._watched = watched
                    changes = watch.changes(watched, poll=self._poll)
                    next(changes)
        finally:
            self._development.end()

    def _once(self) -> None:
        """Build and, where the package is another one, serve it. What goes wrong is said, and no more."""
        began = time.monotonic()
        shown = Shown(self._note, verbose=bool(self._context.verbosity))
        try:
            project = self._context.project()
            package = self._built(project, shown)
            if package.digest != self._package or (self._failed and not self._serves()):
                self._serve(project, package, began)
            elif self._failed:
                self._say_that_it_serves(package, time.monotonic() - began)
            self._failed = False
        except EnarxDeployError as error:
            self._say_that_it_failed(error, shown)

    def _built(self, project: Project, shown: Shown) -> Package:
        from enarx_deploy import runner

        package: Package = runner.run(project, self._context.plugins, shown, until="package")[-1].record
        return package

    def _serve(self, project: Project, package: Package, began: float) -> None:
        from enarx_deploy import choice

        backend, why = choice.backend(project, self._context.plugins, here=True)
        self._note(why)
        self._serving = self._development.replace(project, package, backend)
        self._package = package.digest
        self._say_that_it_serves(package, time.monotonic() - began)
        self._say_what_is_granted_wrongly(project)

    def _serves(self) -> bool:
        return self._serving is not None and not self._serving.session.ended

    def _folders(self) -> frozenset[Path]:
        """Where to look for changes; what was looked at before, where the project cannot be read now."""
        from enarx_deploy import choice, watch
        from enarx_deploy.stages.compile import source_digests
        from enarx_deploy.steps import packaged_files

        try:
            project = self._context.project()
            with self._context.plugins.boundary():
                toolchain, _ = choice.toolchain(project, self._context.plugins)
                inputs = [project.root / name for name in source_digests(project, toolchain)] if toolchain else []
            named = [project.root / name for name in packaged_files(project)]
        except (EnarxDeployError, OSError):
            return self._watched or watch.folders(self._context.directory.resolve(), [])
        manifest = [project.manifest_file] if project.manifest_file else []
        return watch.folders(project.root, [*inputs, *named, *manifest])

    def _stdio(self) -> Stdio:
        """Where the workload writes: with --json not among our own lines."""
        from enarx_deploy.host.session import Stdio

        out = sys.stderr.fileno() if self._context.json else sys.stdout.fileno()
        empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return Stdio(stdin=empty, stdout=out, stderr=sys.stderr.fileno(), complaints=sys.stderr.fileno())

    def _note(self, line: str) -> None:
        """A line that is worth to be said once."""
        if line and line not in self._noted:
            self._noted.add(line)
            self._context.note(line)

    def _say_that_it_serves(self, package: Package, seconds: float) -> None:
        from enarx_deploy.cli.progress import at

        assert self._serving is not None  # noqa: S101 - only called when something serves
        endpoints = self._serving.session.endpoints
        places = ", ".join(f"{one.name}: {one.prot} on {at(one.host, one.port)}" for one in endpoints)
        self._tell(
            f"serving after {seconds:.2f} s: {places or 'no socket'}\n  package {package.digest}",
            event="serving",
            seconds=round(seconds, 3),
            package=package.digest,
            endpoints=[{"name": one.name, "host": one.host, "port": one.port, "prot": one.prot} for one in endpoints],
            certificate_not_after=self._serving.not_after,
        )

    def _say_what_is_granted_wrongly(self, project: Project) -> None:
        """As what packages a module does, and each once: after the serving, which need not wait for it."""
        from enarx_deploy.cli.run_stages import least_privilege
        from enarx_deploy.stages.compile import MODULE_NAME

        for finding in least_privilege(project, project.work_dir / MODULE_NAME):
            line = f"warning: {finding} ({finding.hint})"
            if line not in self._noted:
                self._noted.add(line)
                self._tell(line, event="warning", message=str(finding), hint=finding.hint)

    def _say_that_it_failed(self, error: EnarxDeployError, shown: Shown) -> None:
        self._failed = True
        if str(error) == self._failure:
            return
        self._failure = str(error)
        for line in shown.said:
            self._context.note(f"  {line}")
        hint = f"\n  hint: {error.hint}" if error.hint else ""
        still = "the Keep before goes on serving" if self._package else "nothing is served yet"
        self._tell(f"failed: {error}{hint}\n{still}", event="failed", message=str(error), hint=error.hint)

    def _say_that_it_ended(self, outcome: Outcome) -> None:
        said = outcome.explanation or f"status {outcome.code}"
        self._tell(f"the workload has ended: {said}", event="ended", cause=outcome.kind, code=outcome.code, reason=said)

    def _tell(self, line: str, **event: Any) -> None:
        """An event: a line for people, or one object in a line for programs."""
        if self._context.json:
            click.echo(json.dumps(event))
        else:
            click.echo(line, err=True)


class Shown:
    """What stages say: each choice once, what a stage made, and a tool's own words when they are needed."""

    def __init__(self, note: Callable[[str], None], *, verbose: bool) -> None:
        self._note = note
        self._verbose = verbose
        self.said: deque[str] = deque(maxlen=_MOST_LINES)

    def note(self, line: str) -> None:
        """See `Reporter`."""
        self._note(line)

    def started(self, stage: StageName) -> None:
        """See `Reporter`."""

    def progress(self, line: str) -> None:
        """See `Reporter`."""
        self.said.append(line)
        if self._verbose:
            click.echo(line, err=True)

    def ended(self, run: StageRun) -> None:
        """See `Reporter`."""
        self.said.clear()
        if self._verbose and not run.skipped:
            from enarx_deploy.cli.progress import summary

            click.echo(f"{run.name} {run.seconds:.2f} s: {summary(run.record)}", err=True)
