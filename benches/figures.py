"""What a benchmark answers, and how it is shown: figures in rows, and ratios that can be compared between machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """What has to be reached, and what is aimed at."""

    floor: float
    goal: float


@dataclass(frozen=True)
class Ratio:
    """Ours over theirs, or an amount that is bounded by itself. `better` says which way is better."""

    name: str
    value: float
    better: str
    bound: Bound | None = None

    def __str__(self) -> str:
        if self.bound is None:
            return f"{self.name}: {self.value:.2f} ({self.better} is better)"
        limits = f"floor {self.bound.floor:g}, goal {self.bound.goal:g}: {self._reached(self.bound)}"
        return f"{self.name}: {self.value:.2f} ({self.better} is better; {limits})"

    def _reached(self, bound: Bound) -> str:
        sign = 1 if self.better == "more" else -1
        if sign * self.value >= sign * bound.goal:
            return "goal reached"
        return "floor reached" if sign * self.value >= sign * bound.floor else "below the floor"


@dataclass(frozen=True)
class Section:
    """One benchmark's answer."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    ratios: Sequence[Ratio] = ()
    note: str = ""


def shown(section: Section) -> str:
    """The section as a Markdown table, with its ratios below."""
    lines = [f"## {section.title}", "", _row(section.header), _row("---" for _ in section.header)]
    lines += [_row(row) for row in section.rows]
    lines += ["", *(f"- {ratio}" for ratio in section.ratios)]
    if section.note:
        lines += ["", section.note]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
