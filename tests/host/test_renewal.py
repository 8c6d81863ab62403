"""When certificates are renewed: from half of their life on, however the clock moves, and until it works."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import StewardError
from enarx_deploy.host.renewal import LATEST, SOONEST, Renewal, Validity, due, pause

DAY = 86_400.0
CHANCES = st.floats(0, 1)
LIVES = st.floats(60, 7 * DAY)


class Issuer:
    """Answers with certificates of one day from now, unless it is out of order; counts how often it was asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.behind = 0.0
        self.fault: Exception | None = None
        self.told: list[str] = []
        self.renewal = Renewal(self.renew, self.told.append, clock=lambda: self.now, chance=lambda: 0.5)
        self.renewal.installed(Validity(0.0, DAY))

    def renew(self) -> Validity:
        self.asked += 1
        if self.fault:
            raise self.fault
        began = self.now - self.behind
        return Validity(began, began + DAY)

    def steps_to(self, moment: float, every: float = 15.0) -> int:
        """Let the time pass; answers how often the issuer was asked meanwhile."""
        before = self.asked
        while self.now < moment:
            self.now = min(moment, self.now + every)
            self.renewal.step()
        return self.asked - before


@given(LIVES, CHANCES)
def test_it_is_due_between_half_and_three_fifths_of_a_life(life: float, chance: float) -> None:
    validity = Validity(1e9, 1e9 + life)
    assert 0.5 * life - 1 <= due(validity, chance) - validity.begins <= 0.6 * life + 1


@given(LIVES, st.integers(1, 10**6), CHANCES)
def test_attempts_are_neither_too_near_nor_too_far_apart(life: float, failures: int, chance: float) -> None:
    wait = pause(Validity(0, life), failures, chance)
    assert SOONEST <= wait <= LATEST * 1.1
    assert pause(Validity(0, life), failures + 1, chance) >= wait


def test_nothing_is_asked_before_it_is_due_and_once_when_it_is() -> None:
    issuer = Issuer()
    assert issuer.steps_to(0.5 * DAY) == 0
    assert issuer.steps_to(0.6 * DAY) == 1
    assert issuer.steps_to(1.0 * DAY) == 0
    assert issuer.steps_to(1.2 * DAY) == 1


def test_a_machine_that_slept_past_the_end_renews_when_it_wakes() -> None:
    issuer = Issuer()
    issuer.now = 3 * DAY
    issuer.renewal.step()
    assert issuer.asked == 1


def test_it_goes_on_asking_less_and_less_often_also_after_the_end() -> None:
    issuer = Issuer()
    issuer.fault = StewardError("nobody is there", hint="start it")
    in_the_first_hour = issuer.steps_to(0.55 * DAY + 3600)
    assert 4 <= in_the_first_hour <= 20
    assert 30 <= issuer.steps_to(DAY) <= 60
    assert issuer.steps_to(1.1 * DAY) >= 5
    assert issuer.told[0].endswith("nobody is there (start it)")
    issuer.fault = None
    assert issuer.steps_to(1.15 * DAY) == 1
    issuer.fault = StewardError("again")
    told = len(issuer.told)
    issuer.steps_to(1.15 * DAY + 0.6 * DAY)
    assert issuer.told[told].startswith("the certificate was not renewed (1, next attempt in 5 s), ")


def test_a_plugin_that_fails_in_its_own_way_does_not_end_renewals() -> None:
    issuer = Issuer()
    issuer.fault = ZeroDivisionError("oops")
    issuer.steps_to(0.6 * DAY)
    assert "ZeroDivisionError: oops" in issuer.told[0]
    issuer.fault = None
    assert issuer.steps_to(0.7 * DAY) == 1


def test_without_a_certificate_there_is_nothing_to_renew() -> None:
    renewal = Renewal(lambda: pytest.fail("asked"), print, clock=lambda: 1e12)
    renewal.step()


def test_the_thread_renews_by_itself_and_ends_when_told() -> None:
    asked = threading.Event()

    def renew() -> Validity:
        asked.set()
        return Validity(0.0, 1e12)

    moments = itertools.count(1e11, 10.0)
    renewal = Renewal(renew, print, clock=lambda: next(moments))
    renewal.start()
    renewal.installed(Validity(0.0, 1.0))
    assert asked.wait(120)
    renewal.end()
    (thread,) = [one for one in threading.enumerate() if one.name == "renewal"] or [threading.Thread()]
    if thread.ident:
        thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("begins", "ends"), [("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), ("", ""), ("now", "then")]
)
def test_a_certificate_that_is_never_valid_is_none(begins: str, ends: str) -> None:
    with pytest.raises(ValueError, match=r"never valid|Invalid isoformat"):
        Validity.read(begins, ends)


# What users of other tools met (issues of theirs): each a rule here.


def test_an_idle_service_renews_as_no_traffic_is_asked_for() -> None:
    """confidential-dot-ai/c8s 678: no traffic, no renewal; then not ready, so no traffic, so never again."""
    issuer = Issuer()
    assert issuer.steps_to(5 * DAY) in range(8, 11)


def test_a_certificate_that_is_due_at_once_does_not_make_it_spin() -> None:
    """smallstep/certificates 676: asked every four seconds. Here: the issuer's clock is 13 hours behind."""
    issuer = Issuer()
    issuer.behind = 13 * 3600
    issuer.steps_to(0.6 * DAY)
    assert issuer.steps_to(0.6 * DAY + 3600) <= 5


def test_it_recovers_after_the_end_of_the_certificate() -> None:
    """smallstep/cli 573: it neither ended nor recovered."""
    issuer = Issuer()
    issuer.fault = StewardError("away")
    issuer.steps_to(3 * DAY)
    issuer.fault = None
    assert issuer.steps_to(3 * DAY + 2 * LATEST) == 1
    assert issuer.steps_to(3.4 * DAY) == 0


@pytest.mark.parametrize("slept", [0.55, 1.0, 30.0])
def test_a_machine_that_sleeps_through_it_renews_within_one_look(slept: float) -> None:
    """smallstep/certificates 10, caddyserver/caddy 7677: timers that do not count the time that a machine slept."""
    issuer = Issuer()
    issuer.steps_to(0.1 * DAY)
    issuer.now += slept * DAY
    issuer.renewal.step()
    assert issuer.asked == 1


def test_the_hundredth_renewal_works_as_the_first() -> None:
    """smallstep/certificates 967: the first order worked, and no renewal."""
    issuer = Issuer()
    assert issuer.steps_to(60 * DAY, every=600) in range(100, 121)
    assert issuer.told == []


def test_warnings_grow_as_the_certificate_ends() -> None:
    issuer = Issuer()
    issuer.fault = StewardError("away")
    issuer.steps_to(1.2 * DAY)
    said = [line.partition(":")[0] if line.startswith(("warning", "URGENT", "EXPIRED")) else "" for line in issuer.told]
    assert list(dict.fromkeys(said)) == ["", "warning", "URGENT", "EXPIRED"]
    assert "11 h left" in issuer.told[0]
    assert "ago, and clients refuse it" in issuer.told[-1]


def test_keeps_that_were_certified_together_do_not_all_ask_at_once() -> None:
    validity = Validity(0.0, DAY)
    moments = {due(validity, number / 100) for number in range(101)}
    assert max(moments) - min(moments) >= 2 * 3600
