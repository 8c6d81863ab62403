"""How long a verdict takes, evidence in and checks out: ours beside dcap-qvl; and what two of them at once get done.

Threads take turns at the lock of this interpreter. So they are also measured in one that has no such lock, if
`make free-threaded` has built it, and in this one as processes.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benches import verdicts
from benches.figures import Bound, Ratio, Section
from benches.verdicts import INTEL, LIMIT, OURS, SCALED, THEIRS

ROUNDS = 5
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FREE_THREADED = CACHE / "enarx-deploy/python-free-threaded/python"
MILLISECONDS = Bound(floor=1.0, goal=0.5)
BOUNDS = {"two threads / one, free-threaded": Bound(floor=1.8, goal=1.9)}

Rates = dict[str, list[float]]
"""Of each subject, verdicts per second: of one, and of two threads and two processes where they are compared."""


def measure(seconds: float) -> Section:
    """Milliseconds of a verdict, and how many more two at once get done: median of rounds in turn."""
    rounds = [_round(seconds / ROUNDS) for _ in range(ROUNDS)]
    here, free = [found for found, _ in rounds], [found for _, found in rounds]
    milliseconds = _milliseconds(here)
    grown = {
        "two threads / one": _grown(here, 1),
        "two processes / one": _grown(here, 2),
        "two threads / one, free-threaded": _grown(free, 1),
    }
    columns = {"ms": milliseconds, "ms, free-threaded": _milliseconds(free), **grown}
    rows = [
        [subject, *(f"{column[subject]:.2f}" if subject in column else "" for column in columns.values())]
        for subject in milliseconds
    ]
    ratios = [Ratio(f"{subject} (ms)", milliseconds[subject], "less", MILLISECONDS) for subject in SCALED]
    ratios += [
        Ratio(
            f"{kind}, time, {OURS} / {THEIRS}",
            milliseconds[f"{kind}, {OURS}"] / milliseconds[f"{kind}, {THEIRS}"],
            "less",
        )
        for kind in INTEL
    ]
    ratios += [
        Ratio(f"{subject}, {way}", found[subject], "more", None if subject == LIMIT else BOUNDS.get(way))
        for way, found in grown.items()
        for subject in found
    ]
    note = (
        "Collateral is in memory, and Intel's is verified beforehand but for the last of ours. A known platform is one "
        "whose certificate was verified under the same collateral before. dcap-qvl verifies collateral each time; it "
        "has no build for a free-threaded Python."
    )
    if not FREE_THREADED.exists():
        note += " There is no such Python here: `make free-threaded` builds one."
    return Section("Verdicts over evidence", ["evidence", *columns], rows, ratios, note)


def _round(seconds: float) -> tuple[Rates, Rates]:
    """The rates of this interpreter, and those of the free-threaded one, if it is there."""
    this = Path(sys.executable)
    threads, processes = verdicts.rates(this, seconds, (1, 2)), verdicts.rates(this, seconds, (1,), processes=2)
    here = {subject: [*found, *processes[subject]] for subject, found in threads.items()}
    return here, verdicts.rates(FREE_THREADED, seconds, (1, 2)) if FREE_THREADED.exists() else {}


def _milliseconds(rounds: Sequence[Rates]) -> dict[str, float]:
    return {subject: 1000 / statistics.median(found[subject][0] for found in rounds) for subject in rounds[0]}


def _grown(rounds: Sequence[Rates], way: int) -> dict[str, float]:
    return {
        subject: statistics.median(found[subject][way] / found[subject][0] for found in rounds)
        for subject in (*SCALED, LIMIT)
        if subject in rounds[0]
    }
