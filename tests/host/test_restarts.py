"""Whether a Keep that ended is started again, and how soon."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import KeepError
from enarx_deploy.host import rollout, state
from enarx_deploy.host.restarts import LATEST, SOONEST, pause, wanted
from enarx_deploy.models import KeepStatus


def ended(cause: str, exit_status: int | None = None) -> KeepStatus:
    return KeepStatus(
        id="a", name="a", state="failed", backend="nil", target="local", package="", endpoints=[], created="",
        cause=cause, exit_status=exit_status,
    )  # fmt: skip


def test_how_a_keep_ended_is_told_also_while_its_host_process_is_there_a_moment_longer(tmp_path: Path) -> None:
    """It notes the end, takes no requests any more, and then ends itself."""
    unanswered, trapped = KeepError("it does not answer"), msgspec.structs.replace(ended("trap"), reason="it trapped")
    held = state.hold(tmp_path)
    try:
        state.write_status(tmp_path, msgspec.structs.replace(trapped, state="running"))
        assert rollout.why(tmp_path, unanswered) == "it does not answer"
        state.write_status(tmp_path, trapped)
        assert rollout.why(tmp_path, unanswered) == "it trapped"
    finally:
        os.close(held)


@pytest.mark.parametrize(
    ("status", "always", "on_failure"),
    [
        (ended("exit", 0), True, False),
        (ended("exit", 1), True, True),
        (ended("trap"), True, True),
        (ended("limit"), True, True),
        (ended("jail"), True, True),
        (ended("signal"), True, True),
        (ended("died"), True, True),
        (ended(""), True, True),
        (None, True, True),
        (ended("killed"), False, False),
    ],
    ids=["exit-0", "exit-1", "trap", "limit", "jail", "signal", "died", "crashed", "unknown", "asked-to-end"],
)
def test_each_policy(status, always, on_failure):
    assert wanted("always", status) == always
    assert wanted("on-failure", status) == on_failure
    assert not wanted("never", status)


@given(st.integers(0, 10**6))
def test_the_pause_grows_within_its_bounds(failures):
    assert SOONEST <= pause(failures) <= pause(failures + 1) <= LATEST


def test_the_first_restart_is_at_once_for_users_and_the_tenth_is_not():
    assert pause(1) == SOONEST
    assert pause(10) == LATEST
