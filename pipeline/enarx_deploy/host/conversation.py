"""What a Keep and its host say to each other on the control stream.

Until the workload runs, what the Keep says is taken in turn (`next`). From then on it answers each message under that
message's number (`ask`, `look`), and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable

from enarx_deploy.errors import KeepError
from enarx_keep.channel import Message, Reader, encode
from enarx_keep.errors import BadMessage

UNTAKEN_LIMIT = 64
"""Most messages of a Keep that wait to be taken: it has so many left where it answered too late, and not more."""


class Conversation:
    """See the module. One thread listens, and of the others one at a time asks."""

    def __init__(self, control_fd: int, where_it_wrote: str = "") -> None:
        self._control = socket.socket(fileno=os.dup(control_fd))
        self._where_it_wrote = where_it_wrote
        self._untaken: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._asking = threading.Lock()
        self._asked = 0
        self._answered = 0
        self._looked = 0
        self.takes_looks = False

    def listen(self, take: Callable[[Message], None]) -> str:
        """Hand on each message, up to the end of the stream. Answers what was not of the protocol; "" for nothing.

        After that the stream is closed: the host half would wait for somebody to read what else came.
        """
        reader = Reader(self._control.recv)
        try:
            while True:
                take(_writable(reader.message()))
        except (EOFError, OSError):
            return ""
        except (BadMessage, TypeError, ValueError, OverflowError) as error:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            return f"the Keep broke the control protocol: {error}"

    def note(self, message: Message) -> None:
        """Have a message wait for whoever takes it. Raises BadMessage where too many do."""
        if self._untaken.qsize() >= UNTAKEN_LIMIT:
            raise BadMessage("it sends more than it is asked for")
        self._untaken.put(message)

    def end(self) -> None:
        """The Keep has ended: who waits for a message takes `end`."""
        self._control.close()
        self._untaken.put({"type": "end"})

    def next(self, limit: float) -> Message:
        """The next message, within so many seconds. Raises queue.Empty."""
        return self._untaken.get(timeout=limit)

    def send(self, data: bytes) -> None:
        """Say this. A Keep that has gone is told by the messages that it left behind."""
        with contextlib.suppress(OSError):
            self._control.sendall(data)

    def ask(self, message: Message, limit: float) -> Message:
        """What a Keep whose workload runs answers to a message, within so many seconds. Raises KeepError."""
        with self._asking:
            return self._answer_to(self._send_numbered(message), limit)

    def look(self, limit: float) -> None:
        """Have the running Keep answer in `limit` seconds, as it does where its workload waits or makes calls.

        While it has another answer to give, such as to a renewal, that one has its own time. A Keep of an image from
        before there were looks is taken to be there: it would answer none. Raises KeepError.
        """
        if not self.takes_looks or not self._asking.acquire(timeout=limit):
            return
        try:
            if self._looked <= self._answered:  # one that is not answered yet will do: they are answered in turn
                self._looked = self._send_numbered({"type": "look"})
            self._answer_to(self._looked, limit)
        finally:
            self._asking.release()

    def _send_numbered(self, message: Message) -> int:
        """Answers the number that the answer will have."""
        self._asked += 1
        self.send(encode({**message, "id": self._asked}))
        return self._asked

    def _answer_to(self, number: int, limit: float) -> Message:
        """What it has to say to an earlier message comes too late. Raises KeepError."""
        until = time.monotonic() + limit
        while True:
            try:
                answer = self.next(max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise _unanswered(limit) from None
            if answer["type"] == "end":
                self._untaken.put(answer)
                raise KeepError("the Keep has ended", hint=self._where_it_wrote)
            if isinstance(told := answer.get("id"), int):
                self._answered = max(self._answered, min(told, self._asked))
            if answer.get("id") == number:
                return answer


def _writable(message: Message) -> Message:
    """The same. Raises ValueError for what no record, log or answer in JSON can hold: half a letter, a number that is
    none."""
    json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
    return message


def _unanswered(limit: float) -> KeepError:
    return KeepError(
        f"the Keep has not answered in {limit:.0f} seconds",
        hint="it answers when its workload waits for something or makes calls",
    )
