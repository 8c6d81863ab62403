"""How a Keep ended, by its own word or by what is seen of its process."""

from __future__ import annotations

import signal
from typing import NamedTuple

from enarx_keep.channel import Message

_LARGEST_STATUS = 255
_CODES = range(-(1 << 31), 1 << 32)  # what 32 bits can be, with a sign or without
_SIGNALLED = 128
_TIMED_OUT = 124
_TOLD = ("exit", "trap", "limit", "error")
_UNTOLD = "a system call of another architecture, or of a thread whose signals are blocked"


class Outcome(NamedTuple):
    """How a Keep ended.

    `exit` with the workload's code, `trap`, `limit` of time or memory, `error` before it ran, `jail` after a
    system call that it may not make, `signal` with its number as code, `killed` by its host, `died` without a word.
    """

    kind: str
    code: int = 0
    message: str = ""

    @property
    def exit_status(self) -> int:
        """The status for our own process: the workload's where a process can return it, what shells make of the
        signal that ended the Keep (a violation of the jail is SIGSYS), 124 as of timeout(1) for a limit, else 1."""
        if self.kind == "exit" and 0 <= self.code <= _LARGEST_STATUS:
            return self.code
        if self.kind == "limit":
            return _TIMED_OUT
        return _SIGNALLED + self.code if self.kind in ("signal", "jail") else 1

    @property
    def explanation(self) -> str:
        """One line or more for the user, or nothing where the exit status says it all."""
        if self.kind == "exit" and self.code > _LARGEST_STATUS:
            return f"the workload exited with {self.code}, which no process can return"
        return self.message


STOPPED = Outcome("killed", message="stopped")
"""We ended it."""


def told(message: Message) -> Outcome:
    """What an `exit` message says, believing only its types."""
    code, text = message.get("code", 0), message.get("message", "")
    kind = str(message.get("kind"))
    return Outcome(
        kind if kind in _TOLD else "error",
        code if type(code) is int and code in _CODES else 1,
        text if isinstance(text, str) else "",
    )


def seen(status: int, violation: str | None) -> Outcome:
    """What ended a Keep that did not say so itself, by the status of its process and the call that its jail caught."""
    if status in (-signal.SIGSYS, _SIGNALLED + signal.SIGSYS):
        return Outcome("jail", signal.SIGSYS, f"jail violation: {violation or _UNTOLD}")
    if status < 0:
        return Outcome("signal", -status, f"the Keep was ended by {_name(-status)}")
    return Outcome("died", message=f"the Keep died (exit status {status})")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
