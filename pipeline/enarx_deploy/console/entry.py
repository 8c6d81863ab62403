"""Who may come in. A secret never stands in a URL that is worth anything later.

The link that is printed once works once, and for ten minutes. The token is in a file for the user alone, and is typed
into a form. Either opens a session, whose secret is in a cookie and here, in memory: it ends with this process.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

LINK_LIFE: Final = 600.0
"""Seconds that the link works, at most."""
SESSION_LIFE: Final = 12 * 3600.0
"""Seconds that a session lasts."""
MOST_SESSIONS: Final = 16
COOKIE: Final = "__Host-enarx-console"
"""A name that browsers accept for this host, over TLS, and for no other path or domain."""


class Entry:
    """The secrets of one process. Not for more than one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.token = secrets.token_urlsafe(32)
        self.link = secrets.token_urlsafe(32)
        self._clock = clock
        self._link_until = clock() + LINK_LIFE
        self._sessions: dict[str, float] = {}  # by secret, when it ends

    def by_link(self, said: str) -> str | None:
        """A new session for the link's secret, or None. The first try with the right one is the last."""
        if self._clock() >= self._link_until or not _same(said, self.link):
            return None
        self._link_until = 0.0
        return self._open()

    def by_token(self, said: str) -> str | None:
        """A new session for the token, or None."""
        return self._open() if _same(said, self.token) else None

    def knows(self, session: str) -> bool:
        """Whether a session is open."""
        now = self._clock()
        self._sessions = {known: ends for known, ends in self._sessions.items() if ends > now}
        return any(_same(session, known) for known in self._sessions)

    def end(self, session: str) -> None:
        """Close a session."""
        self._sessions.pop(session, None)

    def _open(self) -> str:
        """The oldest makes room where there are too many."""
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=self._sessions.__getitem__)]
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._clock() + SESSION_LIFE
        return session


def _same(said: str, secret: str) -> bool:
    """In a time that tells nothing of the secret."""
    return hmac.compare_digest(said.encode(), secret.encode())
