"""Challenges that are open: each nonce answers once, within its time, or never.

Keyed by the nonce, not by the evidence: an ECDSA signature can be rewritten, so that equal evidence has many forms.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from .errors import Overloaded

SIZE: Final = 32
"""Bytes of a nonce."""
LIFETIME: Final = timedelta(seconds=120)
CAPACITY: Final = 65_536
"""Most nonces that are open at a time; a nonce and its entry take about 200 bytes."""


class Nonces(Protocol):
    """Open nonces, wherever they are."""

    lifetime: timedelta
    shared: bool
    """Whether they are elsewhere, for several processes."""

    def open(self) -> bytes:
        """A new nonce. Raises `Overloaded`, `Unavailable`."""

    def close(self, nonce: bytes) -> bool:
        """Whether `nonce` is open; it is not from now on. Raises `Unavailable`."""

    def count(self) -> int:
        """How many are open. Raises `Unavailable`."""


class NonceStore:
    """Open nonces of one process. Safe to use from many threads."""

    shared = False

    def __init__(
        self,
        *,
        lifetime: timedelta = LIFETIME,
        capacity: int = CAPACITY,
        # Monotonic, because a wall clock that is set back would make an old challenge valid again.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lifetime = lifetime
        self._capacity = capacity
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._expiry: dict[bytes, float] = {}  # in order of expiry, since all live equally long

    def open(self) -> bytes:
        """A new nonce of 32 random bytes. Raises `Overloaded` while as many as fit are open."""
        nonce = secrets.token_bytes(SIZE)
        with self._lock:
            now = self._monotonic()
            self._forget_expired(now)
            # Refused rather than the oldest forgotten: a flood must not take the challenges of others away.
            if len(self._expiry) >= self._capacity:
                raise Overloaded("too many challenges are open", hint="ask again in a minute")
            self._expiry[nonce] = now + self.lifetime.total_seconds()
        return nonce

    def close(self, nonce: bytes) -> bool:
        """Whether `nonce` is open; it is not from now on."""
        with self._lock:
            expiry = self._expiry.pop(nonce, None)
            return expiry is not None and self._monotonic() < expiry

    def count(self) -> int:
        """How many are open."""
        with self._lock:
            self._forget_expired(self._monotonic())
            return len(self._expiry)

    def _forget_expired(self, now: float) -> None:
        expired = list(itertools.takewhile(lambda entry: entry[1] <= now, self._expiry.items()))
        for nonce, _ in expired:
            del self._expiry[nonce]
