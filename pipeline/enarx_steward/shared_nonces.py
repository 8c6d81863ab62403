"""Challenges that several Stewards over one PostgreSQL share: asked for at one, answered at another, good once.

Times are the database's, so that the clocks of the Stewards do not matter.
"""

from __future__ import annotations

import secrets
import threading
import time
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select, text

from .database import NONCES, Database
from .errors import Overloaded
from .nonces import CAPACITY, LIFETIME, SIZE

HOUSEKEEPING: Final = 1.0
"""Seconds after which a process removes expired nonces and counts again; between that it adds its own."""


class SharedNonces:
    """Open nonces in a database. Safe to use from many threads and processes."""

    shared = True

    def __init__(self, database: Database, *, lifetime: timedelta = LIFETIME, capacity: int = CAPACITY) -> None:
        self.lifetime = lifetime
        self._database = database
        self._capacity = capacity
        self._lock = threading.Lock()
        self._open = 0
        self._counted: float | None = None

    def open(self) -> bytes:
        """A new nonce of 32 random bytes. Raises `Overloaded` while as many as fit are open, and `Unavailable`."""
        self._make_room()
        nonce = secrets.token_bytes(SIZE)
        with self._database.writing() as connection:
            expires = func.clock_timestamp() + self.lifetime
            connection.execute(insert(NONCES).values(nonce=nonce, expires=expires))
        return nonce

    def close(self, nonce: bytes) -> bool:
        """Whether `nonce` is open; it is not from now on. Raises `Unavailable`."""
        taken = delete(NONCES).where(NONCES.c.nonce == nonce).returning(NONCES.c.expires > func.clock_timestamp())
        with self._database.writing() as connection:
            return connection.execute(taken).scalar() is True

    def count(self) -> int:
        """How many are open, after those that have expired were removed. Raises `Unavailable`."""
        with self._database.writing() as connection:
            connection.execute(delete(NONCES).where(NONCES.c.expires <= text("clock_timestamp()")))
            return connection.execute(select(func.count()).select_from(NONCES)).scalar_one()

    def _make_room(self) -> None:
        if self._is_mine_to_count():
            self._open = self.count()
        with self._lock:
            if self._open >= self._capacity:
                raise Overloaded("too many challenges are open", hint="ask again in a minute")
            self._open += 1

    def _is_mine_to_count(self) -> bool:
        """Whether it is time to; meanwhile the others go by the last count."""
        with self._lock:
            now = time.monotonic()
            due = self._counted is None or now - self._counted >= HOUSEKEEPING
            self._counted = now if due else self._counted
            return due
