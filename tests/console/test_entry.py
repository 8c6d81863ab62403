"""Who may come in to the console, and for how long."""

from __future__ import annotations

import pytest

from enarx_deploy.console.entry import LINK_LIFE, MOST_SESSIONS, SESSION_LIFE, Entry


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def entry(clock: Clock) -> Entry:
    return Entry(clock)


def test_the_link_works_once_and_for_its_time(entry: Entry, clock: Clock) -> None:
    assert entry.by_link(entry.token) is None
    assert entry.by_link(entry.link) is not None
    assert entry.by_link(entry.link) is None
    late = Entry(clock)
    clock.now += LINK_LIFE
    assert late.by_link(late.link) is None


def test_a_session_ends_with_its_time_or_when_it_is_told_to(entry: Entry, clock: Clock) -> None:
    first, second = entry.by_token(entry.token), entry.by_token(entry.token)
    assert first != second
    entry.end(first)
    assert (entry.knows(first), entry.knows(second)) == (False, True)
    clock.now += SESSION_LIFE
    assert not entry.knows(second)


def test_nobody_chooses_the_secret_of_a_session(entry: Entry) -> None:
    for strange in ("", "planted", entry.link, entry.token, "é" * 43):
        assert not entry.knows(strange)
        entry.end(strange)
    session = entry.by_token(entry.token)
    assert session not in (None, entry.token, entry.link)


def test_of_too_many_sessions_the_oldest_makes_room(entry: Entry, clock: Clock) -> None:
    sessions = []
    for _ in range(MOST_SESSIONS + 1):
        clock.now += 1
        sessions.append(entry.by_token(entry.token))
    assert [entry.knows(one) for one in sessions] == [False] + [True] * MOST_SESSIONS
