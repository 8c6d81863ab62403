"""What nobody wants: a process is killed, a disk is full. What is lost is bounded, and what is left is whole.

A crash costs each client of the load at most the one request that it had under way in the Keep that died.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.end_to_end.conftest import NO_LOOKS, STDIO, children, eventually
from tests.faults.load import connect, request, under_load

from enarx_deploy.host import requests, state
from enarx_deploy.models import KeepStatus


def service_process(echo) -> int:
    """The process that looks after the deployment: the one whose command names its directory.

    What it starts has its command for a moment, too.
    """
    (place,) = (echo.state / "services").iterdir()
    found = {
        int(one.name)
        for one in Path("/proc").iterdir()
        if one.name.isdecimal() and str(place).encode() in _command_line(one)
    }
    (process,) = (pid for pid in found if _parent(pid) not in found)
    return process


def _parent(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end while it is looked at
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(("victim", "replicas"), [("Keep", 1), ("host process", 2)])
def test_a_kill_costs_what_was_under_way_in_that_keep(deployment, victim, replicas):
    echo = deployment(f"[deploy.default]\nreplicas = {replicas}\n")
    host = echo.keeps()[0]["pid"]
    (keep,) = children(host)
    with under_load(echo.load()) as load:
        os.kill(host if victim == "host process" else keep, signal.SIGKILL)
        load.goes_on()
        eventually(lambda: echo.is_whole(replicas), "the Keep is started again")
        load.goes_on()
    assert load.most_failures_of_a_client <= 1, load.failed
    assert sorted(keep["restarts"] for keep in echo.keeps()) == [*[0] * (replicas - 1), 1]
    echo.state_is_valid()


def test_a_kill_of_the_service_process_costs_nothing_and_the_next_one_takes_over(deployment):
    echo = deployment("[deploy.default]\nreplicas = 2\n")
    before = {keep["id"] for keep in echo.keeps()}
    with under_load(echo.load()) as load:
        os.kill(service_process(echo), signal.SIGKILL)
        load.goes_on()
        echo.scale(3)
        load.goes_on()
        assert before < {keep["id"] for keep in echo.keeps()}
        echo.update("another")
        load.goes_on()
    assert load.failed == {}
    assert not before & {keep["id"] for keep in echo.keeps()}
    echo.state_is_valid()


def test_a_kill_of_the_service_process_amid_an_update_leaves_as_many_keeps_as_are_wanted(deployment):
    """The next one goes on with the first Keep of the version, and not with what else was started of it."""
    echo = deployment("[deploy.default]\nreplicas = 2\n")
    (known,) = (echo.state / "services").glob("*/service.json")
    before = {keep.id for keep in echo.known()}
    echo.change("another")
    with under_load(echo.load()) as load, ThreadPoolExecutor(1) as pool:
        updated = pool.submit(echo.up, echo.project)
        eventually(lambda: len(json.loads(known.read_bytes())["keeps"]) == 4, "the second Keep is started")
        os.kill(service_process(echo), signal.SIGKILL)
        updated.result()
        eventually(lambda: echo.is_whole(2), "two Keeps serve, and no other is there")
        load.goes_on()
    assert not before & {keep.id for keep in echo.known()}
    assert load.failed == {}
    echo.state_is_valid()


def test_a_service_process_that_is_asked_to_end_starts_no_keep_again_meanwhile(deployment):
    """One of two Keeps has ended, and would be started again while the other one's client finishes."""
    echo = deployment(f"[deploy.default]\nreplicas = 2\n{NO_LOOKS}")
    process = service_process(echo)
    (log,) = (echo.state / "services").glob("*/service.log")
    with connect(echo.first.port, echo.first.context()) as client:
        request(client)
        idle = eventually(lambda: _idle(echo), "one of them serves nobody")
        os.kill(idle[0].pid, signal.SIGKILL)
        eventually(lambda: "it is started again in" in log.read_text(), "it is noticed")
        os.kill(process, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{process}").exists(), "the service process ends")
    assert not [keep for keep in (echo.state / "keeps").iterdir() if state.is_held(keep)]
    echo.state_is_valid()


def test_keeps_that_end_with_the_machine_before_their_service_process_are_started_again(deployment, cli, tmp_path):
    """systemd ends what it has started in any order, and says meanwhile that it is about to end."""
    tool, ending = tmp_path / "tools" / "systemctl", tmp_path / "ending"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\n[ "$1" = is-system-running ] && [ -e {ending} ] && echo stopping\n')
    tool.chmod(0o755)
    cli.environment["PATH"] = f"{tool.parent}:{cli.environment['PATH']}"
    echo = deployment()
    process, (keep,) = service_process(echo), echo.known()
    ending.touch()
    os.kill(keep.pid, signal.SIGTERM)
    eventually(lambda: not echo.known(), "the Keep has ended")
    os.kill(process, signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{process}").exists(), "the service process ends")
    ending.unlink()
    echo.cli.start("service", "run", echo.name)
    eventually(lambda: echo.is_whole(1), "it is started again")
    assert echo.known()[0].id == keep.id
    echo.answers()


def _idle(echo) -> list[KeepStatus]:
    """Those of its Keeps that have no connection open; up's looks at their health may be open for a moment."""
    return [
        keep for keep in echo.known() if requests.ask(echo.state / "keeps" / keep.id, {"do": "counters"})["open"] == 0
    ]


def test_a_kill_of_the_steward_costs_nothing_and_renewals_start_another(deployment):
    echo = deployment()
    steward = json.loads((echo.state / "steward" / "server.json").read_text())["pid"]
    with under_load(echo.load()) as load:
        os.kill(steward, signal.SIGKILL)
        load.goes_on()
        assert len(echo.does("renew", echo.name)) == 1
        load.goes_on()
    assert load.failed == {}
    echo.state_is_valid()


def test_a_keep_that_dies_while_the_steward_is_away_comes_back_with_it(deployment):
    """Each start fails meanwhile, and the next one is tried: none of them is taken for the wish to end it."""
    echo = deployment()
    assert echo.cli("steward", "--stop").returncode == 0
    held = echo.state / "steward" / "ca.key"
    away = held.rename(held.with_name("ca.key.away"))
    (before,) = echo.known()
    os.kill(children(before.pid)[0], signal.SIGKILL)
    (log,) = (echo.state / "services").glob("*/service.log")
    eventually(lambda: log.read_text().count("it is started again in") >= 3, "it was tried three times")
    away.rename(held)
    eventually(lambda: echo.is_whole(1), "it is started again")
    assert echo.known()[0].id == before.id
    echo.answers()
    echo.state_is_valid()


def test_all_processes_are_killed_and_the_service_process_starts_all_again_on_the_same_port(deployment):
    """As after a power cut: what its unit runs with the machine, in the foreground. Until then clients are refused."""
    echo = deployment("[deploy.default]\nreplicas = 2\n")
    pids = [service_process(echo), *(keep.pid for keep in echo.known())]
    with under_load(echo.load()) as load:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not echo.known(), "all have ended")
        assert {keep["state"] for keep in echo.does("keeps")} == {"crashed"}
        echo.cli.start("service", "run", echo.name)
        eventually(lambda: echo.is_whole(2), "all are started again")
        load.goes_on()
        failed_meanwhile = load.failed
    assert load.failed == failed_meanwhile
    echo.state_is_valid()


def test_a_version_that_ends_again_and_again_is_taken_back(deployment):
    """It looks healthy, and dies soon after: three times."""
    echo = deployment()
    package = echo.known()[0].package
    with under_load(echo.load()) as load:
        echo.update("fragile")
        for _ in range(3):
            keep = eventually(lambda: next(iter(echo.whole(1)), None), "it runs")
            assert keep.package != package
            os.kill(children(keep.pid)[0], signal.SIGKILL)
            eventually(lambda pid=keep.pid: not Path(f"/proc/{pid}").exists(), "it has ended")
        eventually(lambda: [keep.package for keep in echo.known()] == [package], "the one before serves again")
        eventually(lambda: echo.is_whole(1), "and is whole")
        load.goes_on()
    assert load.most_failures_of_a_client <= 3, load.failed
    versions = eventually(
        lambda: (found := echo.does("history", echo.name))[1]["state"] == "failed" and found,
        "it is known to have failed",
    )
    assert [version["state"] for version in versions] == ["replaced", "failed", "serving"]
    assert "3 times" in versions[1]["reason"]
    echo.state_is_valid()


def test_a_workload_that_fails_is_started_again_however_soon_it_failed(cli, up, program, monkeypatch):
    """One that serves nobody, and may have ended before `up` has looked at it."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", cli.environment["ENARX_DEPLOY_STATE_DIR"])
    project = cli.directory / "failing"
    project.mkdir()
    shutil.copy(program("exit_1"), project / "main.wasm")
    (project / "Enarx.toml").write_text(STDIO)
    assert cli("up", "-C", str(project)).returncode == 0
    eventually(lambda: [keep for keep in state.all_status() if keep.restarts >= 2], "it is started again, twice")
    assert [version["state"] for version in json.loads(cli("history", "failing", "--json").stdout)] == ["serving"]


@pytest.fixture
def small_disk(cli):
    """The state directory on a disk of 24 MiB."""
    state = Path(cli.environment["ENARX_DEPLOY_STATE_DIR"])
    state.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(state)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk takes the right to mount: {done.stderr.strip()}")
    yield state
    cli("stop", "--all", "--grace", "0")
    cli("steward", "--stop")
    subprocess.run(["umount", "-l", str(state)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_stops_changes_and_nothing_else(small_disk, deployment):
    echo = deployment()
    filler = small_disk / "filler"
    with under_load(echo.load()) as load:
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        load.goes_on()
        echo.change("another")
        refused = echo.cli("up", "-C", str(echo.project))
        assert refused.returncode != 0
        assert "Traceback" not in refused.stderr
        load.goes_on()
        filler.unlink()
        echo.update("another")
        load.goes_on()
    assert load.failed == {}
    echo.state_is_valid()
