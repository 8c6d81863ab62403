"""The end of Keeps whose host processes answer nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx_deploy.errors import KeepError
from enarx_deploy.host import ending, state

HANGS = """
import sys, time
from pathlib import Path
from enarx_deploy.host import state
lock = state.hold(Path(sys.argv[1]))
print("holds", flush=True)
time.sleep(3600)
"""


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the directory of a Keep, whose state was never written."""
    with subprocess.Popen([sys.executable, "-c", HANGS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_a_host_process_that_hung_before_it_wrote_its_state_is_killed(hung, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ending, "_KILL_AFTER", 0)
    ending.end(tmp_path, 0)
    assert hung.wait(60) == -9
    assert not state.is_held(tmp_path)


def test_one_that_cannot_be_killed_is_not_waited_for_without_end(hung, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ending, "_KILL_AFTER", 0)
    monkeypatch.setattr(ending, "_GIVE_UP_AFTER", 0)
    monkeypatch.setattr(state, "holder", lambda _: 0)
    with pytest.raises(KeepError, match=f"host process of Keep {tmp_path.name} does not end") as caught:
        ending.end(tmp_path, 0)
    assert f"fuser -v {tmp_path / 'lock'}" in caught.value.hint
    assert hung.poll() is None


def test_who_looks_whether_a_directory_is_held_is_not_its_holder(hung, tmp_path) -> None:
    with (tmp_path / "lock").open():
        assert state.holder(tmp_path) == hung.pid


def test_nobody_holds_what_is_not_locked(tmp_path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open():
        assert state.holder(tmp_path) == 0
