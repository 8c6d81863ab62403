"""Connections to PostgreSQL on which no wait is without end.

The server's own limits and those of TCP do not help while it is there and does nothing: stopped, or waiting for a disk
that is gone.
"""

from __future__ import annotations

import time
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

LONGEST_WAIT: Final = 6
"""Seconds for an answer: longer than the limits of `database`, so that a server that can speak says which was met."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer takes too long."""

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """As psycopg's. Raises `psycopg.OperationalError`."""
        try:
            return super().wait(_timed(gen), *args, **kwargs)
        except psycopg.OperationalError:
            if self.info.transaction_status is TransactionStatus.ACTIVE:
                self.close()  # nobody knows what the server will make of the statement
            raise


def connect(dialect: object, record: object, words: list[str], options: dict[str, Any]) -> TimedConnection:  # noqa: ARG001 — SQLAlchemy's shape
    """Connect as SQLAlchemy would."""
    return TimedConnection.connect(*words, **options)


def _timed(gen: PQGen[RV]) -> PQGen[RV]:
    """The same waits, of which psycopg says several times a second that nothing is ready yet."""
    end = time.monotonic() + LONGEST_WAIT
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise psycopg.OperationalError(f"no answer within {LONGEST_WAIT} seconds")
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: RV = done.value
        return answer
