"""Processes that are killed at a point: the n-th time that they touch the file system, or talk to a registry.

A child counts the points that it passes, and kills itself with SIGKILL at the one that it was given.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_TOUCHING = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "fcntl.flock")
_MOST = 1000
POINT = "POINT"
_PATIENCE = 120.0  # seconds for one child


class Points:
    """Counts, and kills at `at`."""

    def __init__(self, at: int) -> None:
        self._left = at

    def passed(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def walk(
    function: Callable[..., object], *arguments: object, below: Path | None = None, every: int = 1
) -> Iterator[int]:
    """Run a function again and again, killed at the first point, at the second, and so on; ends when one was whole.

    A point is a touch of something `below` a directory or, without one, a request to a registry and each chunk that is
    sent. In the arguments `POINT` stands for the number of the point. Of many, `every` so manyth is enough.
    """
    context = multiprocessing.get_context("forkserver")
    # What a child would import otherwise, each time anew.
    context.set_forkserver_preload([__name__, function.__module__, "enarx_registries.oci_repository"])
    for at in range(1, _MOST, every):
        here = [one.replace(POINT, str(at)) if isinstance(one, str) else one for one in arguments]
        child = context.Process(target=_run, args=(at, below, function, here))
        child.start()
        child.join(_PATIENCE)
        if child.exitcode != -signal.SIGKILL:
            assert child.exitcode == 0
            return
        yield at
    raise AssertionError("it has no end")


def _run(at: int, below: Path | None, function: Callable[..., object], arguments: list[object]) -> None:
    points = Points(at)
    if below is None:
        _count_requests(points)
    else:
        place = str(below)
        sys.addaudithook(lambda event, seen: points.passed() if event in _TOUCHING and _is_in(place, seen) else None)
    function(*arguments)


def _is_in(place: str, seen: tuple[Any, ...]) -> bool:
    """Whether a path is below this one, or relative to a directory that is open; not an import, for example."""
    return not str(seen[0]).startswith("/") or str(seen[0]).startswith(place)


def _count_requests(points: Points) -> None:
    from enarx_registries import oci_http, oci_publication

    ask, chunks_of = oci_http.Connection._open, oci_publication.chunks_of

    def counted_ask(*arguments: Any, **more: Any) -> Any:
        points.passed()
        return ask(*arguments, **more)

    def counted_chunks(*arguments: Any, **more: Any) -> Iterator[bytes]:
        for chunk in chunks_of(*arguments, **more):
            yield chunk
            points.passed()

    oci_http.Connection._open = counted_ask
    oci_publication.chunks_of = counted_chunks
