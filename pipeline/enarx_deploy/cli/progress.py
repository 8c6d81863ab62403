"""How a run of stages is shown while it goes on: on stderr, so that stdout holds the answer alone.

On a terminal one live line per stage; in a pipe plain lines; with --quiet nothing, and with --json only with -v.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

from enarx_deploy.cli.printable import printable
from enarx_deploy.models import Deployment, Identity, Module, Package, ReferenceValues, StageName
from enarx_deploy.sizes import size

if TYPE_CHECKING:
    from rich.status import Status

    from enarx_deploy.cli.context import Context
    from enarx_deploy.runner import Reporter, StageRun

    class Reporting(Reporter, Protocol):
        """A reporter that lets others speak in between."""

        def aside(self) -> AbstractContextManager[None]:
            """Within it nothing is shown that moves."""


_WIDTH = 14  # columns of a stage's name


@contextmanager
def reporter(context: Context) -> Iterator[Reporting]:
    """What suits whoever listens. A live line is taken away at the end, whatever happens."""
    if context.quiet or (context.json and not context.verbosity):
        yield Silent()
    elif not is_terminal(sys.stderr) or context.json:
        yield Plain()
    elif context.only_unchanged:
        yield Settled()
    else:
        with live(verbose=bool(context.verbosity)) as shown:
            yield shown


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there: a CI job has nobody, though some give it a terminal."""
    return stream is not None and stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


class Silent:
    """Shows nothing."""

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def note(self, line: str) -> None:
        """Nothing."""

    def started(self, stage: StageName) -> None:
        """Nothing."""

    def progress(self, line: str) -> None:
        """Nothing."""

    def ended(self, run: StageRun) -> None:
        """Nothing."""


class Plain:
    """One line for each thing that happens, for a pipe or a log."""

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def __init__(self) -> None:
        self._stage = ""

    def note(self, line: str) -> None:
        self._line(self._stage, line)

    def started(self, stage: StageName) -> None:
        self._stage = stage

    def progress(self, line: str) -> None:
        self._line(self._stage, line)

    def ended(self, run: StageRun) -> None:
        self._line(run.name, f"{_outcome(run)}: {summary(run.record)}")
        self._stage = ""

    def _line(self, stage: str, text: str) -> None:
        click.echo(printable(f"{stage:<{_WIDTH}} {text}" if stage else text), err=True)


class Settled:
    """What stays on a terminal of what `Live` shows."""

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def note(self, line: str) -> None:
        self._print(f"{'':<{_WIDTH + 2}} {line}")

    def started(self, stage: StageName) -> None:
        """Nothing that stays."""

    def progress(self, line: str) -> None:
        """Nothing that stays."""

    def ended(self, run: StageRun) -> None:
        mark = "=" if run.skipped else "✔"
        self._print(f"{mark} {run.name:<{_WIDTH}} {_outcome(run)}: {summary(run.record)}")

    def _print(self, text: str) -> None:
        click.echo(printable(text), err=True)


class Live(Settled):
    """One line per stage that moves while the stage does, and stays when it has ended."""

    def __init__(self, status: Status, *, verbose: bool) -> None:
        self._status = status
        self._verbose = verbose
        self._stage = ""
        self._began = 0.0

    def started(self, stage: StageName) -> None:
        self._stage, self._began = stage, time.monotonic()
        self._update("")

    def progress(self, line: str) -> None:
        if self._verbose:
            self.note(line)
        self._update(line)

    def ended(self, run: StageRun) -> None:
        super().ended(run)
        self._update("")

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._status.stop()
        yield
        self._status.start()

    def _update(self, line: str) -> None:
        self._status.update(_literal(f"{self._stage:<{_WIDTH}} {line}"))

    def _print(self, text: str) -> None:
        self._status.console.print(_literal(text), soft_wrap=True)


@contextmanager
def live(*, verbose: bool) -> Iterator[Live]:
    """A live line on stderr."""
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("") as status:
        yield Live(status, verbose=verbose)


def summary(record: object) -> str:
    """What a stage made, in one line."""
    return _SUMMARIES[type(record)](record)


def short(digest: str) -> str:
    """Enough of a digest to recognise it by."""
    return digest[: len("sha256:") + 12]


def _outcome(run: StageRun) -> str:
    return "unchanged" if run.skipped else f"{run.seconds:.1f} s"


def _literal(text: str) -> Any:
    """Text in which rich reads no markup, and a terminal nothing that it would obey: strangers say some of it."""
    from rich.text import Text

    return Text(printable(text))


def _of_module(module: Module) -> str:
    return (
        f"{Path(module.path).name} {size(module.size)} by {module.toolchain} ({module.version}), {short(module.sha256)}"
    )


def _of_package(package: Package) -> str:
    return f"{len(package.files)} files, {size(package.size)}, {short(package.digest)}"


def _of_values(values: ReferenceValues) -> str:
    vouched = "vouched for by the CPU" if values.hardware else "no hardware vouches for them"
    return f"{len(values.measurements)} measurements for backend {values.backend}; {vouched}"


def _of_deployment(deployment: Deployment) -> str:
    places = ", ".join(f"{e.name} {e.prot} {at(e.host, e.port)}" for e in deployment.endpoints) or "no socket"
    return f"Keep {deployment.id} on {deployment.target}: {places}"


def _of_identity(identity: Identity) -> str:
    if not identity.issuer:
        return "no socket speaks TLS: no certificate"
    return f"certificate by {identity.issuer} until {identity.not_after}"


def at(host: str, port: int) -> str:
    """HOST:PORT as a client types it: a Keep that listens on every address is reached on this machine."""
    name = reached_by(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def reached_by(host: str) -> str:
    """The name by which a client on this machine reaches what listens on `host`."""
    return "localhost" if host in ("", "::", "0.0.0.0") else host  # noqa: S104  # compared with, not bound


_SUMMARIES: dict[type, Callable[[Any], str]] = {
    Module: _of_module,
    Package: _of_package,
    ReferenceValues: _of_values,
    Deployment: _of_deployment,
    Identity: _of_identity,
}
