"""Changes that somebody wants: no request fails, however many Keeps come and go."""

from __future__ import annotations

import shutil

import pytest
from tests.end_to_end.conftest import eventually
from tests.faults.load import under_load

from enarx_deploy.host import requests


def test_a_rolling_update_fails_no_request(deployment):
    echo = deployment("[deploy.default]\nreplicas = 2\n")
    before = {keep["id"] for keep in echo.keeps()}
    assert len(before) == 2
    with under_load(echo.load()) as load:
        echo.update("another")
        load.goes_on()
        after = {keep["id"] for keep in echo.keeps()}
    assert load.failed == {}
    assert not before & after
    assert [version["state"] for version in echo.does("history", echo.name)] == ["replaced", "serving"]
    echo.state_is_valid()


def test_scaling_up_and_down_fails_no_request(deployment):
    echo = deployment()
    with under_load(echo.load()) as load:
        for replicas in (3, 1, 2):
            echo.scale(replicas)
            load.goes_on()
            eventually(lambda wanted=replicas: echo.is_whole(wanted), "so many are left")
    assert load.failed == {}
    echo.state_is_valid()


def test_every_replica_serves(deployment):
    echo = deployment("[deploy.default]\nreplicas = 2\n")
    with under_load(echo.load(clients=8)) as load:
        load.reaches_thousands()
    places = [echo.state / "keeps" / keep["id"] for keep in echo.keeps()]
    accepted = [requests.ask(place, {"do": "counters"})["accepted"] for place in places]
    assert min(accepted) > 20, accepted


def test_a_rollback_fails_no_request_and_serves_what_was_before(deployment):
    echo = deployment()
    first = echo.does("history", echo.name)[0]["package"]
    with under_load(echo.load()) as load:
        echo.update("worse")
        echo.does("rollback", echo.name)
        load.goes_on()
    assert load.failed == {}
    versions = echo.does("history", echo.name)
    assert [version["state"] for version in versions] == ["replaced", "replaced", "serving"]
    assert versions[2]["package"] == first != versions[1]["package"]
    assert {keep["package"] for keep in echo.keeps()} == {first}
    echo.state_is_valid()


def test_a_renewal_fails_no_request(deployment):
    echo = deployment("[deploy.default]\nreplicas = 2\n")
    with under_load(echo.load()) as load:
        for _ in range(3):
            assert len(echo.does("renew", echo.name)) == 2
            load.goes_on()
    assert load.failed == {}
    echo.state_is_valid()


@pytest.mark.parametrize("fault", ["does not start", "does not serve"])
def test_a_version_that_does_not_get_healthy_leaves_the_one_before_serving(deployment, program, fault):
    echo = deployment()
    package = echo.keeps()[0]["package"]
    broken = program("exit_126") if fault == "does not start" else program("spins")
    with under_load(echo.load()) as load:
        shutil.copy(broken, echo.project / "main.wasm")
        soon = "deploy.default.local.healthy_within=3"  # for this version alone: the one before may take its time
        refused = echo.cli("up", "-C", str(echo.project), "--set", soon)
        assert refused.returncode == 1, refused.stdout
        assert "did not get healthy" in refused.stderr
        assert "version 1 goes on serving" in refused.stderr
        load.goes_on()
    assert load.failed == {}
    versions = echo.does("history", echo.name)
    assert [version["state"] for version in versions] == ["serving", "failed"]
    assert {keep["package"] for keep in echo.keeps()} == {package}
    echo.state_is_valid()


def test_a_scaling_between_the_start_of_a_version_and_its_certificate_counts(deployment):
    echo = deployment()
    echo.change("another")
    started = echo.cli("deploy", "--json", "-C", str(echo.project))
    assert started.returncode == 0, started.stderr
    echo.scale(2)
    echo.up(echo.project)
    eventually(lambda: echo.is_whole(2), "as many serve as were wanted last")
    assert {keep["version"] for keep in echo.keeps()} == {2}
