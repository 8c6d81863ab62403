"""A service process that is killed amid a change, at each point where it writes down what it knows.

Whoever asked for the change asks the next one again, and nothing that was begun is left over.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from tests.end_to_end.conftest import eventually
from tests.faults.conftest import Deployment

from enarx_deploy.host import state

KILLER = """
    import os, signal, sys
    from pathlib import Path

    if "service" in sys.orig_argv[-3:]:
        from enarx_deploy import paths

        write, left = paths.write_atomically, Path(__file__).with_name("left")

        def counted(path, data, *rest, **more):
            if path.name == "service.json" and left.exists():
                now = int(left.read_text()) - 1
                left.write_text(str(now))
                if now == 0:
                    left.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
            write(path, data, *rest, **more)

        paths.write_atomically = counted
"""
"""Kills a service process before it writes for the n-th time; `left` has n, and is gone when it was done."""


@pytest.fixture
def left(cli, tmp_path) -> Path:
    """The file that says at which point the next service process is killed."""
    place = tmp_path / "killer"
    place.mkdir()
    (place / "sitecustomize.py").write_text(textwrap.dedent(KILLER))
    cli.paths.append(place)
    return place / "left"


def is_settled(echo: Deployment, replicas: int) -> bool:
    """Whether so many Keeps of the version that serves are there, and no other, known or not."""
    versions = echo.does("history", echo.name)
    held = [one for one in (echo.state / "keeps").iterdir() if state.is_held(one)]
    serving = [one["number"] for one in versions if one["state"] == "serving"]
    return (
        echo.is_whole(replicas)
        and len(held) == replicas
        and {keep.version for keep in echo.known()} == set(serving)
        and not [one for one in versions if one["state"] == "pending"]
    )


@pytest.mark.parametrize("point", [3, 4, 6], ids=["version noted", "Keep started", "version serves"])
def test_an_update_is_made_whole_by_the_next_service_process(deployment, left, point):
    echo = deployment()
    left.write_text(str(point))
    echo.update("another")
    assert not left.exists(), "nobody was killed"
    eventually(lambda: is_settled(echo, 1), "one Keep serves, and nothing is left over")
    echo.answers()
    echo.state_is_valid()


def test_a_scaling_is_made_whole_by_the_next_service_process(deployment, left):
    echo = deployment()
    for point, wanted in ((4, 3), (2, 1)):
        left.write_text(str(point))
        echo.scale(wanted)
        assert not left.exists(), "nobody was killed"
        eventually(lambda wanted=wanted: is_settled(echo, wanted), "so many serve, and nothing is left over")
        echo.answers()
    echo.state_is_valid()


def test_a_rollback_that_is_asked_for_again_goes_back_to_the_same_version(deployment, left):
    echo = deployment()
    echo.update("another")
    first, _ = echo.does("history", echo.name)
    left.write_text("5")  # when the version serves
    assert echo.does("rollback", echo.name)["package"] == first["package"]
    assert not left.exists(), "nobody was killed"
    eventually(lambda: is_settled(echo, 1), "one Keep serves, and nothing is left over")
    assert [one["package"] for one in echo.does("history", echo.name) if one["state"] == "serving"] == [
        first["package"]
    ]
    echo.answers()


def test_a_version_that_nobody_has_certified_is_given_up(deployment):
    echo = deployment()
    echo.change("another")
    within = ("--set", "deploy.default.local.certified_within=1")
    assert echo.cli("deploy", "-C", str(echo.project), *within).returncode == 0  # all that a killed `up` came to
    eventually(lambda: is_settled(echo, 1), "its Keep is ended")
    (_, given_up) = echo.does("history", echo.name)
    assert (given_up["state"], given_up["reason"]) == ("failed", "nobody had its Keep certified within 1 s")
    echo.up(echo.project)
    echo.answers()
    echo.state_is_valid()
