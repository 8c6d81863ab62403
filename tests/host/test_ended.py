"""What stays of Keeps that have ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy.host import ended, state
from enarx_deploy.models import KeepStatus

DEPLOYMENT = "echo-1"


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A Keep that has ended at a moment, by its id."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))

    def make(name: str, at: int, service: str = DEPLOYMENT, **how: Any) -> Path:
        same: dict[str, Any] = {"id": name, "name": "echo", "target": "local", "backend": "nil", "package": "sha256:0"}
        directory = state.new_keep(state.KeepSpec(**same, package_root="", created="", service=service))
        fields = {"state": "exited", "cause": "killed", "endpoints": [], "created": ""} | how
        state.write_status(directory, KeepStatus(**same, **fields))
        (directory / "stdout.log").write_text("words")
        os.utime(directory / "state.json", (at, at))
        return directory

    return make


def left() -> set[str]:
    return {path.name for path in state.keeps_dir().iterdir()}


def test_the_latest_stay_with_their_logs(keep) -> None:
    for number in range(ended.KEPT + 3):
        keep(f"keep{number}", number)
    ended.prune(DEPLOYMENT, ())
    assert left() == {f"keep{number}" for number in range(3, ended.KEPT + 3)}
    assert (state.keep_dir("keep3") / "stdout.log").read_text() == "words"


@pytest.mark.parametrize(
    "how", [{"state": "failed", "cause": "trap"}, {"state": "crashed"}, {"cause": "exit", "exit_status": 2}]
)
def test_the_last_that_failed_stays_however_many_have_ended_since(keep, how) -> None:
    keep("older", 1, **how)
    keep("failed", 2, **how)
    for number in range(3, ended.KEPT + 3):
        keep(f"keep{number}", number)
    ended.prune(DEPLOYMENT, ())
    assert left() == {"failed", *(f"keep{number}" for number in range(3, ended.KEPT + 3))}


def test_what_is_started_again_runs_or_is_anothers_stays(keep) -> None:
    keep("again", 1)
    keep("others", 2, service="other-1")
    lock = state.hold(keep("runs", 3, state="running", cause=""))
    starting = keep("starts", 3)
    (starting / "state.json").unlink()
    for number in range(4, ended.KEPT + 5):
        keep(f"keep{number}", number)
    ended.prune(DEPLOYMENT, ("again",))
    os.close(lock)
    assert {"again", "others", "runs", "starts"} < left()
    assert "keep4" not in left()


def test_a_directory_that_cannot_be_read_is_left_alone(keep) -> None:
    broken = keep("broken", 1)
    (broken / "spec.json").write_text("{")
    for number in range(2, ended.KEPT + 3):
        keep(f"keep{number}", number)
    ended.prune(DEPLOYMENT, ())
    assert "broken" in left()
