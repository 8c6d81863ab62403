"""What a service says on its standard error, without ever waiting for whoever reads it.

A pipe that nobody reads is full after some hundred requests, and then a write to it does not return.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from typing import Any, Final

MAX_LINES: Final = 2048
"""Most lines that wait to be written; what comes then is dropped, and counted."""
MAX_LINE: Final = 8192
"""Most characters of one."""
STANDARD_ERROR: Final = 2
PATIENCE: Final = 1.0
"""Seconds that the end waits for the last lines."""


def log_config(service: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes: lines of uvicorn and of the service's own logger, by a `LineWriter`."""
    levels = (("uvicorn", "WARNING"), ("uvicorn.access", "INFO"), (service, "INFO"))
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": OneLine, "fmt": "%(asctime)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"()": LineWriter, "formatter": "line"}},
        "loggers": {name: {"handlers": ["stderr"], "level": level, "propagate": False} for name, level in levels},
    }


class OneLine(logging.Formatter):
    """A message in one line, which a traceback may follow. Some of its words are a stranger's, who would add lines of
    their own, or say to a terminal what it is to do."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — the library's name
        """With whatever is not printable written out."""
        text = super().formatMessage(record)
        if text.isprintable():
            return text
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class LineWriter(logging.Handler):
    """Writes lines to a descriptor on a thread of its own, which begins with the first line."""

    def __init__(self, descriptor: int = STANDARD_ERROR, *, capacity: int = MAX_LINES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(capacity)
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written, or drop it."""
        line = self.format(record)[:MAX_LINE]
        if self._thread is None:  # under the handler's own lock
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until all is written, but not for long: nobody may be reading."""
        end = time.monotonic() + PATIENCE
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                line = f"{dropped} lines were dropped, since those before them were not read\n{line}"
            # Not by `sys.stderr`: its lock would be held for as long as the write lasts, also at the process's end.
            with contextlib.suppress(OSError):
                os.write(self._descriptor, f"{line}\n".encode(errors="backslashreplace"))
            self._lines.task_done()
