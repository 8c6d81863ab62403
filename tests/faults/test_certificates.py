"""Certificates in operation: clocks that jump, a Steward that is away, a root that is replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.end_to_end.conftest import eventually
from tests.faults.load import under_load

SHORT = """\
[ca]
trust_domain = "localhost"

[nil]
any_workload = true
names = ["localhost"]
lifetime = "1m"
"""


def own_steward(cli, policy: str = "") -> Path:
    """The user's own Steward, with this policy. Answers its directory."""
    state = Path(cli.environment["ENARX_DEPLOY_STATE_DIR"]) / "steward"
    assert cli("steward", "--init").returncode == 0
    if policy:
        (state / "steward.toml").write_text(policy)
    return state


def test_an_idle_service_renews_by_itself_and_survives_its_steward(deployment, cli):
    """In real time, by a policy of one minute: due from second 30 on, while nobody connects and no Steward is there.

    First it fails, which is told, and the certificate that it has goes on; then there is a Steward again.
    """
    own_steward(cli, SHORT)
    echo = deployment()
    root = echo.state / "steward" / "root.pem"
    held = root.with_name("ca.key")
    assert cli("steward", "--stop").returncode == 0
    away = held.rename(held.with_name("ca.key.away"))
    (first,) = echo.known()
    eventually(lambda: echo.known()[0].renewal_failure, "it tries to renew")
    (failed,) = echo.known()
    assert failed.certificate_not_after == first.certificate_not_after
    assert "not renewed" in failed.renewal_failure
    assert "left" in failed.renewal_failure
    echo.answers()
    away.rename(held)
    eventually(lambda: echo.known()[0].certificate_not_after > first.certificate_not_after, "it is renewed")
    (renewed,) = echo.keeps()
    assert renewed["renewal_failure"] == ""
    assert (renewed["pid"], renewed["restarts"]) == (first.pid, 0)
    echo.answers()
    echo.state_is_valid()


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_a_clock_that_jumps_renews_and_fails_no_request(deployment, cli, tmp_path):
    """A host that slept for 15 hours: its clock is ahead from one moment to the next. Its Steward's is not.

    A certificate of 24 hours is due for renewal by then, whatever was drawn: from hour 12 on, and before half past 14.
    """
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    clock = tmp_path / "clock"

    def set_clock(ahead: str) -> None:
        """All at once, as a file that is read at every look at the clock must be."""
        clock.with_suffix(".new").write_text(ahead)
        clock.with_suffix(".new").rename(clock)

    set_clock("+0")
    own_steward(cli)
    assert (
        cli.start("steward").stdout.readline().startswith("Steward")
    )  # before `up` could start one by the other clock
    cli.environment |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    echo = deployment()
    for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
        del cli.environment[name]
    (before,) = echo.known()
    with under_load(echo.load(clients=2)) as load:
        set_clock("+15h")
        eventually(lambda: echo.known()[0].certificate_not_after != before.certificate_not_after, "it is renewed")
        load.goes_on()
        set_clock("-15h")
        load.goes_on()
    assert load.failed == {}
    assert echo.keeps()[0]["restarts"] == 0
    echo.state_is_valid()


def test_a_new_root_is_served_beside_the_old_one(deployment, cli, tmp_path):
    echo = deployment()
    old = tmp_path / "old-root.pem"
    state = echo.state / "steward"
    shutil.copy(state / "root.pem", old)
    with under_load(echo.load()) as load:
        assert cli("steward", "ca", "roll").returncode == 0
        assert cli("steward", "--reload").returncode == 0
        assert len(echo.does("renew", echo.name)) == 1
        load.goes_on()
    assert load.failed == {}
    for root in (old, state / "root.pem"):
        echo.answers(root)
    assert old.read_bytes() != (state / "root.pem").read_bytes()
    echo.state_is_valid()
