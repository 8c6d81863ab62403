"""`enarx-deploy top`: what the Keeps do now, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

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

    Without a terminal, and with --json, it looks twice within a second and answers once.
    """
    if once or context.json or not sys.stdout.isatty():
        samples = look(context, look(context, {}, wait=0), wait=_BETWEEN_TWO_LOOKS)
        context.emit(lambda: _plain(samples.values()), [_record(sample) for sample in samples.values()])
        return
    _live(context, interval)


def look(context: Context, before: Mapping[str, Sample], wait: float) -> dict[str, Sample]:
    """A sample of each Keep by its id, `wait` seconds from now."""
    from enarx_deploy.cli.observe import most_recent, observe

    time.sleep(wait)
    return {keep.status.id: _sample(keep, before.get(keep.status.id)) for keep in most_recent(observe(context))}


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

    samples = look(context, {}, wait=0)
    with Live(_drawn(samples.values()), console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            samples = look(context, samples, wait=interval)
            live.update(_drawn(samples.values()), refresh=True)


def _drawn(samples: Any) -> Table:
    """As `Text`, which has no markup: names and reasons may be a stranger's."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, title=f"{_moment()}  Ctrl-C ends it", title_justify="left", pad_edge=False)
    for name in _HEAD:
        drawn.add_column(name, justify="right" if name in _HEAD[_NUMBERS] else "left", no_wrap=True)
    for sample in samples:
        drawn.add_row(*map(Text, _row(sample)))
    return drawn


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
