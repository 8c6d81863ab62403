"""Keep the certificate of a running Keep fresh: ask for another at half of its life, and again until there is one.

It goes by the wall clock, looked at every few seconds, so that a machine that slept renews when it wakes. It does not
depend on anyone using the service, and it does not stop because a certificate has expired.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from enarx_deploy.errors import EnarxDeployError

LOOK_EVERY = 15.0
"""Seconds between two looks at the clock."""
SOONEST, LATEST = 5.0, 900.0
"""Seconds between two attempts, at least and at most."""
_ATTEMPTS_IN_A_LIFE = 20
_MANY = 31  # failures after which the pause between attempts grows no more
_SPREAD = 0.1  # of a life: Keeps that were started together do not all ask at once


class Validity(NamedTuple):
    """From when until when a certificate is valid, in seconds since 1970."""

    begins: float
    ends: float

    @classmethod
    def read(cls, not_before: str, not_after: str) -> Validity:
        """From RFC 3339 strings. Raises ValueError."""
        validity = cls(datetime.fromisoformat(not_before).timestamp(), datetime.fromisoformat(not_after).timestamp())
        if validity.begins >= validity.ends:
            raise ValueError(f"a certificate from {not_before} to {not_after} is never valid")
        return validity

    @property
    def life(self) -> float:
        """How long it is valid, in seconds."""
        return self.ends - self.begins


def due(validity: Validity, chance: float) -> float:
    """When to renew, in seconds since 1970: from half of the life on. `chance` is from 0 to 1."""
    return validity.begins + validity.life * (0.5 + _SPREAD * chance)


def pause(validity: Validity, failures: int, chance: float) -> float:
    """Seconds until the next attempt, after so many that failed: twice as long each time, within bounds.

    However short the life is, attempts are `SOONEST` apart; however long, there are many before it ends.
    """
    most = min(LATEST, max(SOONEST, validity.life / _ATTEMPTS_IN_A_LIFE))
    least = min(SOONEST, most)
    return min(most, least * 2.0 ** min(failures - 1, 30)) * (1 + _SPREAD * chance)


class Left(NamedTuple):
    """What is left of a certificate's life in words, and a warning that grows as it ends."""

    warning: str
    words: str


def left_of(validity: Validity, now: float) -> Left:
    """What is left at a moment, in seconds since 1970."""
    left = validity.ends - now
    warning = next(warning for share, warning in _WARNINGS if left <= share * validity.life)
    words = f"{_in_words(left)} left" if left > 0 else f"ended {_in_words(-left)} ago, and clients refuse it"
    return Left(warning, words)


_WARNINGS = ((0.0, "EXPIRED: "), (0.1, "URGENT: "), (0.25, "warning: "), (float("inf"), ""))
"""Up to which share of its life is left, and what is said then."""


def _in_words(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Renewal:
    """Calls `renew`, which answers the new certificate's validity, whenever it is due; `tell` hears what failed."""

    def __init__(
        self,
        renew: Callable[[], Validity],
        tell: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._renew = renew
        self._tell = tell
        self._clock = clock
        self._chance = chance
        self._changed = threading.Condition()
        self._validity: Validity | None = None
        self._due = float("inf")
        self._failures = 0
        self._ended = False

    def start(self) -> None:
        """Begin, on a thread of its own."""
        threading.Thread(target=self._run, name="renewal", daemon=True).start()

    def end(self) -> None:
        """Renew nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def installed(self, validity: Validity) -> None:
        """A certificate is in use: reckon from it."""
        with self._changed:
            self._validity = validity
            # Where this clock is far ahead of the issuer's, a new certificate is due at once, and the next one, too.
            self._due = max(due(validity, self._chance()), self._clock() + pause(validity, _MANY, self._chance()))
            self._failures = 0
            self._changed.notify()

    def step(self) -> None:
        """Renew if it is due. A failure is told, and the next attempt is later; a success ends up in `installed`."""
        with self._changed:
            validity = self._validity
            if validity is None or self._clock() < self._due:
                return
        try:
            renewed = self._renew()
        except EnarxDeployError as error:
            self._failed(validity, f"{error}{f' ({error.hint})' if error.hint else ''}")
        except Exception as error:  # noqa: BLE001 - whatever an issuer's plugin raises, renewals go on
            self._failed(validity, f"{type(error).__name__}: {error}")
        else:
            self.installed(renewed)

    def _failed(self, validity: Validity, reason: str) -> None:
        with self._changed:
            self._failures += 1
            wait = pause(validity, self._failures, self._chance())
            self._due = self._clock() + wait
            failures = self._failures
        left = left_of(validity, self._clock())
        attempts = f"({failures}, next attempt in {wait:.0f} s)"
        self._tell(f"{left.warning}the certificate was not renewed {attempts}, {left.words}: {reason}")

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                self._changed.wait(min(LOOK_EVERY, max(0.0, self._due - self._clock())))
                if self._ended:
                    return
            self.step()
