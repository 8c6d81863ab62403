"""What a Keep's process says beside the sallyport: passed on up to a limit, and its end kept, to say why it ended."""

from __future__ import annotations

import contextlib
import os
import threading

LIMIT = 1 << 20
"""Most bytes of one Keep that are passed on. What goes beyond is taken, so that nobody waits, and dropped."""
_PIECE = 1 << 16
_TOLD = 400


class Complaints:
    """Takes what comes on one end of a pipe, on a thread, until the other end has been closed by all who had it."""

    def __init__(self, into: int) -> None:
        self._into = into
        self._left = LIMIT
        self._tail = bytearray()
        self._own, self.theirs = os.pipe2(os.O_CLOEXEC)
        self._taker = threading.Thread(target=self._take, name="keep-complaints", daemon=True)

    def begin(self) -> None:
        """The process has its end."""
        os.close(self.theirs)
        self._taker.start()

    def abandon(self) -> None:
        """There will be no process."""
        os.close(self.theirs)
        os.close(self._own)

    def end(self) -> None:
        """Wait until all has come."""
        self._taker.join()

    @property
    def last_lines(self) -> str:
        """The end of what was said, on one line."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        return " / ".join(line for line in lines if line)[-_TOLD:]

    def _take(self) -> None:
        while piece := os.read(self._own, _PIECE):
            self._tail = (self._tail + piece)[-_PIECE:]
            passed, self._left = piece[: self._left], max(0, self._left - len(piece))
            with contextlib.suppress(OSError):
                os.write(self._into, passed)
        os.close(self._own)
