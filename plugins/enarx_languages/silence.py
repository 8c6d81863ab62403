"""A tool that says nothing for long: whoever waits is told that it is still at work."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from enarx_deploy.protocols import Progress

FIRST = 10.0
"""Seconds of silence after which it is told; it is told again each time that they have doubled."""


class Silence:
    """While it is entered, a thread waits for silence. `reason` is what such a tool may be at."""

    def __init__(self, name: str, progress: Progress, reason: str = "") -> None:
        self._name = name
        self._progress = progress
        self._reason = f": {reason}" if reason else ""
        self._heard = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="tool-silence", daemon=True)

    def __enter__(self) -> Silence:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def broken(self) -> None:
        """The tool said something."""
        self._heard = time.monotonic()

    def _wait(self) -> None:
        limit = FIRST
        while not self._ended.wait(max(0.0, self._heard + limit - time.monotonic())):
            silent = time.monotonic() - self._heard
            if silent >= limit:
                self._progress(f"{self._name} has said nothing for {silent:.0f} s and is at work{self._reason}")
                limit *= 2
