"""What a part of this program looks at: files that it opens, folders that it lists. Audit events tell (PEP 578).

They do not tell of a mere look at whether something is there. Who looks so outside of the project, where the folders
themselves are watched, says it with `tools.looked_at`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from enarx_deploy.tools import LOOKED_AT

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LISTS = ("os.listdir", "os.scandir", LOOKED_AT)
_LEADS_OUT = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "os.system")
_ASKS_OTHERS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.bind")


@dataclass
class Seen:
    """Absolute paths of what was looked at and of what was written. `doubt` names what nothing can be said about."""

    looked_at: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    doubt: str = ""

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one event in."""
        if event == "open":
            self._opened(*arguments)
        elif event in _LISTS:
            self._looked(arguments[0])
        elif event in _LEADS_OUT or event in _ASKS_OTHERS:
            self.doubt = event

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int):
            return  # a descriptor, which was opened before
        name = os.fsdecode(path)
        if mode is None and not os.path.isabs(name):  # perhaps in a directory that only a descriptor names  # noqa: PTH117
            self.doubt = f"open {name}"
        (self.written if flags & _WRITES else self.looked_at).add(_absolute(name))

    def _looked(self, path: Any) -> None:
        if isinstance(path, int):
            self.doubt = "a folder that only a descriptor names"
        else:
            self.looked_at.add(_absolute(os.fsdecode(path or ".")))


_seen: Seen | None = None
_hears = False


@contextmanager
def watching() -> Iterator[Seen]:
    """Note what this process looks at in the meantime."""
    global _seen, _hears
    if not _hears:
        sys.addaudithook(_hear)  # which cannot be taken back: there is one for the process
        _hears = True
    _seen = seen = Seen()
    try:
        yield seen
    finally:
        _seen = None


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None:
        _seen.hear(event, arguments)


def _absolute(name: str) -> str:
    return os.path.abspath(name)  # noqa: PTH100 - a link must stay one: the way may change
