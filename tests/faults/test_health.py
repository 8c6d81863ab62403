"""Keeps that run and serve nobody any more: they are noticed, and replaced as after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.conftest import NO_LOOKS, eventually
from tests.faults.conftest import Deployment
from tests.faults.load import connect, request, under_load

from enarx_deploy.errors import KeepError
from enarx_deploy.host import requests

OFTEN = "[deploy.default.local.health]\ninterval = 1\ntimeout = 2\nthreshold = 2\n"
PATIENTLY = OFTEN.replace("timeout = 2", "timeout = 6")
"""For a Keep that is well beside one that hangs: on a busy machine it may take seconds to answer."""
LOOK = {"do": "check", "where": "again", "within": 60}
BRIEF_LOOK = LOOK | {"within": 2}


@pytest.fixture
def that_hangs(cli, up, echo_project, program, monkeypatch) -> Callable[..., Deployment]:
    """A service that hangs after a request with an `h`, and only works after one with a `w`, looked at each second."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", cli.environment["ENARX_DEPLOY_STATE_DIR"])

    def deploy(resources: str = "", health: str = OFTEN, **how: Any) -> Deployment:
        metrics = '[deploy.default]\nmetrics = "127.0.0.1:0"\n'
        project = echo_project("hanging", extra=resources + metrics + health, **how)
        shutil.copy(program("hangs"), project / "main.wasm")
        return Deployment(cli, up, project, up(project))

    return deploy


@pytest.fixture
def hanging(that_hangs) -> Deployment:
    return that_hangs()


def started_again(service: Deployment, times: int) -> bool:
    return any(keep.restarts == times for keep in service.whole(1))


def failed_look(service: Deployment) -> str:
    return next((keep.health_failure for keep in service.known()), "")


def test_a_workload_that_stops_answering_is_replaced(hanging) -> None:
    hanging.answers()
    (first,) = hanging.keeps()
    with connect(hanging.first.port, hanging.first.context()) as client:
        client.sendall(b"hang")
        failing = eventually(lambda: failed_look(hanging), "a look fails")
        assert "'echo' did not shake hands" in failing
        eventually(lambda: started_again(hanging, 1), "the Keep is started again")
    hanging.answers()
    (second,) = hanging.keeps()
    assert second["id"] == first["id"]
    assert second["health_failure"] == ""
    log = (hanging.state / "services").glob("*/service.log")
    said = next(log).read_text()
    assert f"Keep {first['id']} failed look 1 of 2 at its health: 'echo' did not shake hands" in said
    assert "has ended (it failed 2 looks at its health in a row: 'echo' did not shake hands" in said
    shown = hanging.cli("metrics").stdout
    (restarts,) = [line for line in shown.splitlines() if line.startswith("enarx_keep_restarts_total{")]
    (healthy,) = [line for line in shown.splitlines() if line.startswith("enarx_keep_healthy{")]
    assert (restarts.split()[-1], healthy.split()[-1]) == ("1.0", "1.0")
    hanging.state_is_valid()


def test_a_workload_that_hangs_with_all_connections_taken_is_replaced(that_hangs) -> None:
    full = that_hangs("[resources]\nconnections = 1\n")
    with connect(full.first.port, full.first.context()) as client:
        client.sendall(b"hang")
        failing = eventually(lambda: failed_look(full), "a look fails")
        assert "the Keep has not answered in 2 seconds" in failing
        eventually(lambda: started_again(full, 1), "the Keep is started again")
    full.answers()


def test_a_workload_without_tls_that_hangs_fails_its_look(that_hangs) -> None:
    plain = that_hangs(health=NO_LOOKS, prot="tcp")
    place = plain.state / "keeps" / plain.known()[0].id
    requests.ask(place, LOOK)
    with socket.create_connection(("127.0.0.1", plain.first.port)) as client:
        client.sendall(b"hang")
        eventually(lambda: requests.ask(place, {"do": "counters"})["bytes_in"], "it has come")
        for _ in range(2):
            with pytest.raises(KeepError, match="has not answered in 2 seconds"):
                requests.ask(place, BRIEF_LOOK)


def test_a_workload_that_never_waits_shakes_hands_and_is_healthy_when_full(that_hangs) -> None:
    busy = that_hangs("[resources]\nconnections = 2\n", health=NO_LOOKS)
    place = busy.state / "keeps" / busy.known()[0].id
    with connect(busy.first.port, busy.first.context()) as client:
        client.sendall(b"work")
        eventually(lambda: requests.ask(place, {"do": "counters"})["bytes_in"], "it has come")
        requests.ask(place, LOOK)
        with connect(busy.first.port, busy.first.context()):
            eventually(lambda: requests.ask(place, {"do": "counters"})["open"] == 2, "it is full")
            requests.ask(place, LOOK)


def test_a_host_process_that_hangs_is_replaced(hanging) -> None:
    host = hanging.known()[0].pid
    os.kill(host, signal.SIGSTOP)
    eventually(lambda: not Path(f"/proc/{host}").exists(), "it is killed")
    eventually(lambda: started_again(hanging, 1), "the Keep is started again")
    hanging.answers()


def test_one_of_two_that_hangs_fails_no_new_connection_of_the_other(deployment) -> None:
    """Looks reach the Keep that is meant, though both accept on one socket."""
    echo = deployment("[deploy.default]\nreplicas = 2\n" + PATIENTLY)
    frozen, other = echo.known()
    (workload,) = (int(pid) for pid in Path(f"/proc/{frozen.pid}/task/{frozen.pid}/children").read_text().split())
    with under_load(echo.load()) as load:
        os.kill(workload, signal.SIGSTOP)
        eventually(lambda: not Path(f"/proc/{workload}").exists(), "the Keep that hangs is ended")
        eventually(lambda: echo.is_whole(2), "it is started again")
        load.goes_on()
    assert load.most_failures_of_a_client <= 1, load.failed
    restarts = {keep["id"]: keep["restarts"] for keep in echo.keeps()}
    assert restarts == {frozen.id: 1, other.id: 0}


def test_a_keep_that_is_full_and_idle_is_healthy_and_looks_are_no_clients(deployment) -> None:
    echo = deployment("[resources]\nconnections = 2\n" + NO_LOOKS)
    place = echo.state / "keeps" / echo.known()[0].id
    before = requests.ask(place, {"do": "usage"})
    requests.ask(place, LOOK)
    requests.ask(place, LOOK)
    eventually(lambda: requests.ask(place, {"do": "counters"})["open"] == 0, "the looks are over")
    after = requests.ask(place, {"do": "usage"})
    assert (after["connections"], after["handshakes_failed"]) == (before["connections"], before["handshakes_failed"])
    context = echo.first.context()
    with connect(echo.first.port, context) as one, connect(echo.first.port, context):
        eventually(lambda: requests.ask(place, {"do": "counters"})["open"] == 2, "both are there")
        requests.ask(place, LOOK)
        request(one)
        requests.ask(place, LOOK)
    requests.ask(place, {"do": "usage"})


def test_a_keep_that_is_full_of_uploads_is_healthy(deployment) -> None:
    """What clients send is taken, and nothing is answered before its end."""
    echo = deployment("[resources]\nconnections = 1\n" + NO_LOOKS)
    place = echo.state / "keeps" / echo.known()[0].id
    with socket.create_connection(("127.0.0.1", echo.first.port)) as client:
        eventually(lambda: requests.ask(place, {"do": "counters"})["open"] == 1, "it is full")
        for piece in (b"\x16\x03\x01\x20\x00", b"part of", b"a long", b"record"):
            before = requests.ask(place, {"do": "counters"})["bytes_in"]
            client.sendall(piece)
            eventually(lambda: requests.ask(place, {"do": "counters"})["bytes_in"] > before, "it is taken")  # noqa: B023
            requests.ask(place, LOOK)
