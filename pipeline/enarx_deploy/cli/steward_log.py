"""`enarx-deploy steward log`: what a Steward decided, and whether the record of it is whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import StewardError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from enarx_steward.issuance_log import Entry, Head, IssuanceLog

F = TypeVar("F", bound=Callable[..., Any])

_HEAD = ("SEQ", "TIME", "DECISION", "BACKEND", "WHAT")


@click.group()
@common_options()
def command(context: Context) -> None:
    """Show, check or export the issuance log: every decision, each bound to the one before it by a hash."""


def _place_options(function: F) -> F:
    for option in (
        click.option("--database", metavar="URL", help="Where the log is. Default: what the policy in DIR says."),
        click.option(
            "--state",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="The Steward's directory. Default: that of your own Steward.",
        ),
    ):
        function = option(function)
    return function


@command.command()
@_place_options
@click.option("--since", metavar="TIME", help="From this time on, such as 2026-11-24 or 2026-11-24T12:00:00Z.")
@click.option(
    "--last", type=click.IntRange(1, 10_000), help="At most so many of the last ones. Default: 20, or all with --since."
)
@common_options()
def show(context: Context, state: Path | None, database: str | None, since: str | None, last: int | None) -> None:
    """List decisions, oldest first."""
    with _log(state, database) as log:
        entries = list(_last(_chosen(log, since), last if last or since else 20))
    context.emit(lambda: _shown(entries), entries)


@command.command()
@_place_options
@click.option("--since", metavar="TIME", help="From this time on, such as 2026-11-24 or 2026-11-24T12:00:00Z.")
@click.option("--output", "-o", metavar="FILE", type=click.File("wb", lazy=True), default="-", help="Default: stdout.")
@common_options()
def export(context: Context, state: Path | None, database: str | None, since: str | None, output: Any) -> None:
    """Write the log as JSON Lines, one entry a line; `verify --file` checks it anywhere."""
    import msgspec

    with _log(state, database) as log:
        for entry in _chosen(log, since):
            output.write(msgspec.json.encode(entry) + b"\n")
    context.answered = True


@command.command()
@_place_options
@click.option(
    "--file", "exported", metavar="FILE", type=click.File("rb"), help="Check an exported log, not a database."
)
@click.option(
    "--head",
    "kept",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A signed head that was kept elsewhere (GET /v1/log/head): that no end is cut off shows against it alone.",
)
@click.option(
    "--root", metavar="PEM", type=click.Path(path_type=Path), help="Who must have signed it. Default: root.pem in DIR."
)
@common_options()
def verify(
    context: Context, state: Path | None, database: str | None, exported: Any, kept: Path | None, root: Path | None
) -> None:
    """Walk the whole log, and name the first entry that is missing, changed, or out of place.

    Exit status 3 if there is one.
    """
    expected = _kept_head(kept, root or _directory(state) / "root.pem") if kept else None
    if exported:
        head = _walked(context, _lines(exported), expected)
    else:
        with _log(state, database) as log:
            head = _walked(context, log.walk(), expected)
    context.emit(_whole(head, expected), {"ok": True, "seq": head.seq, "hash": head.hash, "head": kept is not None})


def _walked(context: Context, entries: Iterable[Entry], expected: Head | None) -> Head:
    from enarx_steward import issuance_log

    try:
        return issuance_log.verify(entries, expected)
    except issuance_log.Broken as broken:
        context.emit("", {"ok": False, "broken": {"seq": broken.seq, "why": str(broken)}})
        raise VerificationRefused(
            f"the issuance log is broken: {broken}",
            hint="compare it with an export or a backup from before; until then trust no entry from there on",
        ) from None


def _whole(head: Head, kept: Head | None) -> str:
    if kept is not None:
        told = f"kept head     entry {kept.seq} is in it"
    else:
        told = "not checked   whether its end was cut off: that needs --head"
    return f"whole         {head.seq} entries\nhash          {head.hash}\n{told}"


def _kept_head(path: Path, root: Path) -> Head:
    from enarx_steward import checkpoint

    try:
        return checkpoint.read(path.read_bytes(), root.read_bytes()).head
    except checkpoint.NotSigned as fault:
        raise VerificationRefused(f"{path}: {fault}", hint=f"it must be signed under {root}") from fault


def _lines(file: Iterable[bytes]) -> Iterator[Entry]:
    import msgspec

    from enarx_steward.issuance_log import Broken, Entry

    decoder = msgspec.json.Decoder(Entry)
    for number, line in enumerate(file, 1):
        try:
            yield decoder.decode(line)
        except msgspec.MsgspecError as fault:
            raise Broken(number, f"line {number} is no entry: {fault}") from fault


def _chosen(log: IssuanceLog, since: str | None) -> Iterator[Entry]:
    return log.since(_time(since)) if since else log.walk()


def _last(entries: Iterator[Entry], number: int | None) -> Iterable[Entry]:
    return deque(entries, maxlen=number)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time", hint="such as 2026-11-24 or 2026-11-24T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _shown(entries: list[Entry]) -> str:
    from enarx_deploy.cli.table import table

    return table(_HEAD, [_row(entry) for entry in entries]) if entries else "no entries"


def _row(entry: Entry) -> tuple[str, ...]:
    import msgspec

    from enarx_steward.decisions import Issued, SecretsReleased

    try:
        decision = entry.decision()
    except msgspec.MsgspecError:
        return (str(entry.seq), entry.time, "?", "-", "not a decision that this program knows")
    if isinstance(decision, Issued):
        what = f"{decision.serial} for {', '.join(decision.names)} until {decision.not_after}"
        return (str(entry.seq), entry.time, "issued", decision.backend, what)
    if isinstance(decision, SecretsReleased):
        what = f"{', '.join(decision.secrets)} to {decision.package}"
        return (str(entry.seq), entry.time, "released", decision.backend, what)
    return (str(entry.seq), entry.time, "refused", decision.backend or "-", ", ".join(decision.checks))


@contextmanager
def _log(state: Path | None, database: str | None) -> Iterator[IssuanceLog]:
    """The log of a Steward, running or not; nothing is made where there is none."""
    from enarx_steward import database as databases
    from enarx_steward import issuance_log, policy
    from enarx_steward import state as files
    from enarx_steward.errors import StewardFault

    directory = _directory(state)
    try:
        url = database or (
            policy.load(directory / files.POLICY).database if (directory / files.POLICY).exists() else ""
        )
        if not url and not (directory / files.ISSUANCE_LOG).exists():
            raise StewardError(
                f"there is no issuance log in {directory}",
                hint="a Steward makes it when it starts; see --state, --database",
            )
        with closing(databases.open_for(directory, url)) as opened:
            yield issuance_log.IssuanceLog(opened)
    except issuance_log.Broken as broken:
        raise VerificationRefused(
            f"the issuance log is broken: {broken}",
            hint="keep it as it is, and compare it with a copy that its auditors have",
        ) from broken
    except StewardFault as fault:
        raise StewardError(str(fault), hint=fault.hint) from fault


def _directory(state: Path | None) -> Path:
    from enarx_deploy import paths

    return (state or paths.state_dir("steward")).absolute()
