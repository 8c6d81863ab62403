"""Limits of `[resources]`, as the user sees them met: in the workload, on the host, in the list of Keeps."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

OUTPUT = [f"{line:07d}" for line in range(100_000)]


@pytest.fixture
def meet(run, program, tmp_path: Path) -> Callable[..., object]:
    """Run the program that meets a limit, with these words before it."""
    (tmp_path / "data").mkdir()

    def start(what: str, *words: str) -> object:
        mount = f"{tmp_path / 'data'}::/data"
        return run("--dir", mount, *words, program("limits"), "--", what)

    return start


@pytest.mark.parametrize(
    ("resource", "value", "inside", "outside"),
    [
        ("filesystem", "1 MiB", ("No space left on device\n", "File too large\n"), "its file system is full"),
        ("descriptors", "32", ("No file descriptors available\n", "Too many open files\n"), "it has that many open"),
    ],
)
def test_a_limit_that_the_workload_can_go_on_behind(
    meet, resource: str, value: str, inside: tuple[str, ...], outside: str
) -> None:
    ended = meet(resource, "--set", f"resources.{resource}={value}")
    assert ended.out.decode() in inside
    assert ended.status == 0
    assert ended.err.splitlines() == [f"enarx-deploy: [resources] {resource} = {value}: {outside}"]


def test_memory_that_ran_out_is_named_when_the_workload_fails(meet) -> None:
    ended = meet("memory", "--set", "resources.memory=32 MiB")
    assert (ended.status, ended.out) == (7, b"Out of memory\n")
    assert "[resources] memory = 32 MiB: it stood at this limit" in ended.err


def test_a_module_that_needs_more_memory_from_the_start(meet) -> None:
    ended = meet("", "--set", "resources.memory=64 KiB")
    assert ended.status == 124
    assert "[resources] memory: 65,536 bytes are less than the module needs" in ended.err


@pytest.mark.parametrize(
    ("what", "resource", "said"),
    [
        ("computes", "time", "time: the workload has run for 1 s"),
        ("waits", "time", "time: the workload has run for 1 s"),
        ("computes", "cpu_time", "cpu_time: the workload has taken 1 s of processor time"),
    ],
)
def test_a_workload_whose_time_has_run_out_is_ended(meet, what: str, resource: str, said: str) -> None:
    ended = meet(what, "--json", "--set", f"resources.{resource}=1")
    record = json.loads(ended.err)
    assert (ended.status, record["outcome"], record["message"]) == (124, "limit", f"[resources] {said}")


def test_a_limit_is_in_the_list_of_keeps(cli, service, eventually) -> None:
    echo = service(extra="[resources]\nconnections = 2\n")
    with echo.connect(), socket.create_connection(("127.0.0.1", echo.port)):
        line = "[resources] connections = 2: all were in use; more wait until one ends"
        eventually(lambda: echo.status()["limits"] == [line], "the limit is noted")
    assert line in cli("keeps").stdout
    assert line in cli("logs", echo.id, "--stream", "host").stdout


@pytest.mark.parametrize(("what", "status"), [("loud-exit", 3), ("loud-trap", 1)])
def test_nothing_that_was_written_before_the_end_is_lost(meet, what: str, status: int) -> None:
    ended = meet(what)
    assert ended.out.decode().splitlines() == OUTPUT
    assert ended.err.startswith("last words\n")
    assert ended.status == status


def test_nothing_that_was_written_before_a_keep_is_killed_is_lost(
    run, program, children, eventually, tmp_path: Path
) -> None:
    said = tmp_path / "err"
    with (tmp_path / "out").open("wb") as out, said.open("wb") as err:
        process = run.start(program("limits"), "--", "loud-wait", stdout=out, stderr=err)
        eventually(lambda: (tmp_path / "out").stat().st_size == 8 * len(OUTPUT), "the workload has written all")
        eventually(lambda: said.read_text() == "last words\n", "and its last words")
        (keep,) = children(process.pid)
        import os
        import signal

        os.kill(keep, signal.SIGKILL)
        process.wait(120)
    assert (tmp_path / "out").read_text().splitlines() == OUTPUT
    assert said.read_text().startswith("last words\n")
    assert (process.returncode, "SIGKILL" in said.read_text()) == (128 + signal.SIGKILL, True)
