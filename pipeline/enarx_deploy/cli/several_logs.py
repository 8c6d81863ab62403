"""What several Keeps of one name write: line by line, each with the id of its Keep before it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from enarx_deploy.errors import EnarxDeployError
from enarx_deploy.models import ALIVE

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.models import KeepStatus
    from enarx_deploy.protocols import Target

OneStream = Literal["stdout", "stderr", "host"]
_ALL: tuple[OneStream, ...] = ("stdout", "stderr", "host")
_LOOK_EVERY = 2.0  # seconds between two looks for Keeps that have come since
_MOST_WAITING = 64  # pieces that were read and are not shown yet: a terminal may be slower than Keeps are
_LONGEST = 65536  # bytes of a line that is shown whole


class Lines:
    """Cuts what comes in pieces into lines, and puts `head` before each; a line that is too long becomes several."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._begun = b""

    def take(self, piece: bytes) -> bytes:
        """The lines that this piece completes."""
        *lines, self._begun = (self._begun + piece).split(b"\n")
        while len(self._begun) > _LONGEST:
            lines.append(self._begun[:_LONGEST])
            self._begun = self._begun[_LONGEST:]
        return b"".join(self._head + line + b"\n" for line in lines)

    def end(self) -> bytes:
        """The last line, where it was not ended."""
        return self._head + self._begun + b"\n" if self._begun else b""


class Several:
    """The logs of all Keeps of a name that are alive, each piece with the id of its Keep."""

    def __init__(
        self, context: Context, name: str, target: Target, stream: OneStream | Literal["all"], *, whole_lines: bool
    ) -> None:
        self._context = context
        self._name = name
        self._target = target
        self._streams = _ALL if stream == "all" else (stream,)
        self._whole_lines = whole_lines
        self._reading = 0  # streams that have not ended
        self._said: queue.Queue[tuple[str, bytes | None]] = queue.Queue(_MOST_WAITING)

    def so_far(self) -> Iterator[tuple[str, bytes]]:
        """One Keep after the other."""
        for keep in (one.id for one in self._keeps() if one.state in ALIVE):
            for stream in self._streams:
                for piece in self._pieces(keep, stream, follow=False):
                    yield keep, piece

    def follow(self) -> Iterator[tuple[str, bytes]]:
        """As it comes, until none is alive; also of those that take another's place, or are added, meanwhile, and if
        they have ended again before they were seen."""
        followed = {keep.id for keep in self._keeps() if keep.state not in ALIVE}
        while True:
            for keep in (one.id for one in self._keeps()):
                if keep not in followed:
                    followed.add(keep)
                    self._begin(keep)
            if not self._reading:
                return
            yield from self._heard(time.monotonic() + _LOOK_EVERY)

    def _heard(self, until: float) -> Iterator[tuple[str, bytes]]:
        """What is said up to that moment of the monotonic clock, or until nobody is left who could."""
        while self._reading and (left := until - time.monotonic()) > 0:
            try:
                keep, piece = self._said.get(timeout=left)
            except queue.Empty:
                return
            if piece is None:
                self._reading -= 1
            else:
                yield keep, piece

    def _begin(self, keep: str) -> None:
        for stream in self._streams:
            self._reading += 1
            threading.Thread(target=self._read, args=(keep, stream), name=f"{stream}-{keep}", daemon=True).start()

    def _read(self, keep: str, stream: OneStream) -> None:
        try:
            for piece in self._pieces(keep, stream, follow=True):
                self._said.put((keep, piece))
        except EnarxDeployError as error:
            self._context.warn(f"the log of Keep {keep} cannot be read on: {error}")
        finally:
            self._said.put((keep, None))

    def _pieces(self, keep: str, stream: OneStream, *, follow: bool) -> Iterator[bytes]:
        lines = Lines(f"{keep} | ".encode())
        with self._context.plugins.boundary():
            for piece in self._target.logs(keep, follow=follow, stream=stream):
                if shown := lines.take(piece) if self._whole_lines else piece:
                    yield shown
        if rest := lines.end():
            yield rest

    def _keeps(self) -> list[KeepStatus]:
        with self._context.plugins.boundary():
            return [keep for keep in self._target.keeps() if keep.name == self._name]
