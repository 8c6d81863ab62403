"""`enarx-deploy top`: what the Keeps do now, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from enarx_deploy.cli.context import Context, common_options

if TYPE_CHECKING:
    from rich.table import Table

    from enarx_deploy.cli.observe import Observed
    from enarx_deploy.models import KeepStatus, Usage

_HEAD = (
    *("ID", "NAME", "REPLICA", "VERSION", "STATE", "BACKEND"),
    *("CONN", "TOTAL", "IN/s", "OUT/s", "CPU", "MEMORY", "CERTIFICATE"),
)
_NUMBERS = slice(_HEAD.index("CONN"), _HEAD.index("CERTIFICATE"))
_FIRST_TO_GO = ("BACKEND", "VERSION", "TOTAL", "ID", "REPLICA", "OUT/s", "IN/s", "CPU", "CERTIFICATE")
"""The columns that a narrow terminal goes without, one after the other."""
_NAME_WIDTH = 24
_UNKNOWN = "-"
_BETWEEN_TWO_LOOKS = 1.0  # seconds, where one answer is asked for


class Sample(msgspec.Struct, frozen=True):
    """A Keep at one moment; the rates are those since the sample before, and None without one.

    `replica` and `replicas` say which one it is of how many of its deployment that are alive.
    """

    status: KeepStatus
    usage: Usage
    replica: int
    replicas: int
    at: float
    cpu_percent: float | None = None
    bytes_in_per_second: float | None = None
    bytes_out_per_second: float | None = None


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often it looks.",
)
@click.option("--once", is_flag=True, help="Answer once, as it does without a terminal.")
@common_options("target")
def command(context: Context, interval: float, once: bool) -> None:
    """Show what the Keeps do now: state, connections, traffic, processor, memory, certificate. Ctrl-C ends it.

    \b
    REPLICA      which one of how many Keeps of its deployment that are alive
    VERSION      of the deployment, as `history` counts them
    CONN         connections open now; TOTAL are all that were accepted
    IN/s, OUT/s  bytes as they cross the host, which is ciphertext for TLS
    CPU          of one processor
    CERTIFICATE  its age, and how long it is valid yet

    A narrow terminal goes without some of these, a low one without the oldest Keeps; the last line says so.

    Without a terminal, and with --json, it looks twice within a second and answers once.
    """
    if once or context.json or not sys.stdout.isatty():
        samples = look(context, look(context, {}, wait=0), wait=_BETWEEN_TWO_LOOKS)
        context.emit(lambda: _plain(samples.values()), [_record(sample) for sample in samples.values()])
        return
    _live(context, interval)


def look(
    context: Context, before: Mapping[str, Sample], wait: float, warn: Callable[[str], None] | None = None
) -> dict[str, Sample]:
    """A sample of each Keep by its id, `wait` seconds from now."""
    from enarx_deploy.cli.observe import most_recent, observe

    time.sleep(wait)
    return {keep.status.id: _sample(keep, before.get(keep.status.id)) for keep in most_recent(observe(context, warn))}


def _sample(keep: Observed, before: Sample | None) -> Sample:
    now, usage = time.monotonic(), keep.usage

    def rate(field: str) -> float | None:
        if before is None or getattr(usage, field) < 0 or getattr(before.usage, field) < 0:
            return None
        grown: float = getattr(usage, field) - getattr(before.usage, field)
        return max(0.0, grown / (now - before.at))

    cpu = rate("cpu_seconds")
    percent = None if cpu is None else 100 * cpu
    return Sample(keep.status, usage, keep.replica, keep.replicas, now, percent, rate("bytes_in"), rate("bytes_out"))


def _record(sample: Sample) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(sample)
    del found["at"]
    return found


def _live(context: Context, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console, warnings = Console(), list[str]()
    samples = look(context, {}, wait=0, warn=warnings.append)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_drawn(list(map(_row, samples.values())), warnings, *console.size), refresh=True)
            warnings = []
            samples = look(context, samples, wait=interval, warn=warnings.append)


def _drawn(rows: Sequence[Sequence[str]], warnings: Sequence[str], width: int, height: int) -> Table:
    """As `Text`, which has no markup: names and reasons may be a stranger's."""
    from rich.table import Table
    from rich.text import Text

    shown = rows[: max(1, height - 3)]  # beside the title, the head, and the last line
    columns = _with_room(shown, width)
    gone = ", ".join(name for name in _HEAD if name not in columns)
    more = f"{len(rows) - len(shown)} more Keeps" if len(rows) > len(shown) else ""
    left_out = "; ".join(filter(None, [more, gone]))
    last = [*warnings, f"`top --once` has all: no room for {left_out}" if left_out else ""]
    title = Text(f"{_moment()}  Ctrl-C ends it", no_wrap=True)
    drawn = Table(box=None, title=title, title_justify="left", pad_edge=False, collapse_padding=True)
    drawn.caption = Text(_printable("; ".join(filter(None, last))), no_wrap=True, overflow="ellipsis")
    drawn.caption_justify = "left"
    for name in columns:
        side: Literal["right", "left"] = "right" if name in _HEAD[_NUMBERS] else "left"
        drawn.add_column(name, justify=side, no_wrap=True, max_width=_NAME_WIDTH if name == "NAME" else None)
    for row in shown:
        drawn.add_row(*(Text(text) for name, text in zip(_HEAD, row, strict=True) if name in columns))
    return drawn


def _with_room(rows: Sequence[Sequence[str]], width: int) -> Sequence[str]:
    """The columns that a terminal of this width has room for, with a space between each."""
    wide = {name: max(map(len, column)) for name, *column in zip(_HEAD, _HEAD, *rows, strict=True)}
    wide["NAME"] = min(wide["NAME"], _NAME_WIDTH)
    columns = list(_HEAD)
    for name in _FIRST_TO_GO:
        if sum(wide[one] + 1 for one in columns) - 1 <= width:
            break
        columns.remove(name)
    return columns


def _plain(samples: Any) -> str:
    from enarx_deploy.cli.table import table

    rows = [_row(sample) for sample in samples]
    return table(_HEAD, rows) if rows else "no Keeps"


def _row(sample: Sample) -> Sequence[str]:
    status, usage = sample.status, sample.usage
    return (
        status.id,
        _printable(status.name),
        f"{sample.replica}/{sample.replicas}" if sample.replica else _UNKNOWN,
        str(status.version) if status.version else _UNKNOWN,
        status.state,
        status.backend,
        _count(usage.connections_open),
        _count(usage.connections),
        _size(sample.bytes_in_per_second),
        _size(sample.bytes_out_per_second),
        _UNKNOWN if sample.cpu_percent is None else f"{sample.cpu_percent:.0f} %",
        _size(None if usage.memory < 0 else usage.memory),
        _certificate(status),
    )


def _count(number: int) -> str:
    return _UNKNOWN if number < 0 else str(number)


def _size(number: float | None) -> str:
    from enarx_deploy.sizes import size

    return _UNKNOWN if number is None else size(number)


def _certificate(status: KeepStatus) -> str:
    if not status.certificate_not_after:
        return _UNKNOWN
    now, ends = datetime.now(UTC), datetime.fromisoformat(status.certificate_not_after)
    left = f"{_duration(ends - now)} left" if ends > now else f"ended {_duration(now - ends)} ago"
    if not status.certificate_not_before:
        return left
    return f"{_duration(now - datetime.fromisoformat(status.certificate_not_before))} old, {left}"


def _duration(length: timedelta) -> str:
    """In its largest unit."""
    seconds = int(length.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _moment() -> str:
    return datetime.now().strftime("%H:%M:%S")
