"""A thousand calls of WASI, in a Keep and by wasmtime's own WASI, which is the judge where the two should agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.wasi_conformance.judged import Run

DIFFERS = {
    r"(read|write) where .*": "rights are kept, and what lacks one is not capable",
    r"sync a directory": "a right to it was not asked for",
    r"(read|write to|seek|size of|allocate) a directory": "it is one, as POSIX says; the other: no descriptor",
    r"(list|make a directory below) a file": "it is no directory; the other says that it is no descriptor",
    r"open \S+/ [15] .": "a file is not made by a name that ends in a slash: POSIX leaves open which error says so",
    r"open \S+ 2 0": "a link that is not followed is no directory, or a link: both may be said",
    r"rmdir to-dir/|unlink to-dir/": "the link is not followed, and is no directory",
    r"link (dir|\.) .*": "no directory has a second name, wherever that would be",
    r"link no \.\./hard": "two faults in one call",
    r"rename \. .*": "what a descriptor stands for stays: busy",
    r"link by following": "the specification has the flag, the other refuses it",
    r"seek too far|tell again|tell after pread": "no file ends there; the other takes the sum as it overflows",
    r"(write|read) of nothing": "no bytes were asked for, and none came",
    r"gathered|position is kept|read past what was cut|grown with zeroes": "all pieces count, not the first alone",
    r"a size that is too large": "it is too large, which is an error of its own",
    r"poll a file three times.*": "all that is ready is told, not the first alone",
}
"""Calls that answer something else in a Keep, each with its reason (docs/wasi.md)."""

NOT_CAPABLE, NOT_PERMITTED = ": 76", ": 63"
"""For a path that leaves its directory, the specification's errno and the other's."""


def answers(text: bytes) -> list[tuple[str, str]]:
    """Each call and its answer, with the lines below it, which are part of that."""
    calls = text.decode().replace("\n  ", "; ").replace(NOT_CAPABLE, NOT_PERMITTED).splitlines()
    return [(name, answer) for name, _, answer in (call.partition(": ") for call in calls)]


def test_calls_answer_what_they_answer_by_wasmtime_but_for_what_is_listed(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    module = program("calls")
    ended = []
    for run_by in (Run.in_a_keep, Run.by_wasmtime):
        root = tmp_path / run_by.__name__
        root.mkdir()
        ended.append(run_by(Run(module, root)))
    assert [one.status for one in ended] == [0, 0], ended
    here, there = (answers(one.stdout) for one in ended)
    assert [name for name, _ in here] == [name for name, _ in there]
    assert len(here) > 1000
    different = {name for (name, one), (_, other) in zip(here, there, strict=True) if one != other}
    assert not {name for name in different if not any(re.fullmatch(one, name) for one in DIFFERS)}
    assert not {one for one in DIFFERS if not any(re.fullmatch(one, name) for name in different)}
