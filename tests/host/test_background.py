"""Processes that look after Keeps: those that do not come up."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from enarx_deploy.errors import KeepError
from enarx_deploy.host import background, state, supervisor


@pytest.fixture
def started_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Have this script started in the place of a host process; answers where it writes."""

    def script(text: str) -> Path:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o700)
        monkeypatch.setattr(background.sys, "executable", str(program))
        return tmp_path

    return script


def open_descriptors() -> set[str]:
    """Later there may be fewer: what earlier tests left open is closed when it is collected."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_one_that_says_nothing_is_given_up_and_ended(started_by, monkeypatch) -> None:
    place = started_by("exec sleep 600")
    monkeypatch.setattr(background, "START_LIMIT", 0.2)
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: Any, **how: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(*words, **how))
        return started[-1]

    monkeypatch.setattr(background, "subprocess", SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL))
    before = open_descriptors()
    with pytest.raises(KeepError, match="did not start in 0 seconds"):
        background.start("keep", place, "host.log")
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert open_descriptors() <= before


def test_what_outlives_its_command_is_given_no_token_of_it(started_by, monkeypatch) -> None:
    monkeypatch.setenv("ENARX_INSECURE_AUTH_TOKEN", "a-token")
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", "/a/cache")
    place = started_by("env > given")
    with pytest.raises(KeepError, match="died while it started"):
        background.start("keep", place, "host.log")
    given = (place / "given").read_text()
    assert "ENARX_DEPLOY_CACHE_DIR=/a/cache" in given
    assert "a-token" not in given


def test_the_last_words_of_one_that_dies_are_told(started_by) -> None:
    place = started_by("echo first >&2; echo no such planet >&2; exit 3")
    with pytest.raises(KeepError, match="died while it started") as told:
        background.start("keep", place, "host.log")
    assert told.value.hint == "its last words: no such planet"


def test_one_that_cannot_be_started_is_an_error_of_ours(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(background.sys, "executable", str(tmp_path / "nowhere"))
    before = open_descriptors()
    with pytest.raises(KeepError, match="cannot be started: No such file"):
        background.start("keep", tmp_path, "host.log")
    assert open_descriptors() <= before


def test_an_end_that_was_noted_stays_whatever_a_slower_thread_notes(tmp_path) -> None:
    """As where a workload is done before the thread that let it run has noted that it runs."""
    spec = state.KeepSpec(
        id="abc", name="echo", target="local", backend="nil", package="sha256:0", package_root="", created=""
    )
    state.write_spec(tmp_path, spec)
    keep = supervisor._Supervisor(tmp_path)
    keep.note("exited", cause="exit", exit_status=0, pid=0)
    keep.note("running", certificate_not_after="2030-01-01T00:00:00Z")
    status = state.read_status(tmp_path)
    assert status is not None
    assert (status.state, status.exit_status) == ("exited", 0)
