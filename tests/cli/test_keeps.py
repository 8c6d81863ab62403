"""`keeps`, `logs`, `stop` and `platform`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ENDPOINT = {"name": "web", "host": "::", "port": 4433, "prot": "tls"}


def keep(shelf, identity: str, **changes: object) -> None:
    """Put a Keep on the shelf."""
    record = {
        "id": identity,
        "name": "oak",
        "state": "running",
        "backend": "shelf",
        "target": "shelf",
        "package": "sha256:" + "0" * 64,
        "endpoints": [ENDPOINT],
        "created": "2026-01-01T00:00:00Z",
    }
    shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
    (shelf / f"{identity}.json").write_text(json.dumps(record | changes))


@pytest.fixture
def keeps(enarx_deploy, shelf):
    """Three Keeps: two of one name, of which one has ended, and one more."""
    shelf.parent.mkdir(parents=True, mode=0o700)
    keep(shelf, "aaa111", state="exited", exit_status=7, created="2026-01-02T00:00:00Z")
    keep(shelf, "aaa222")
    keep(shelf, "bbb333", name="beech", state="crashed", reason="its host process is gone")


def test_no_keeps(enarx_deploy):
    assert enarx_deploy("keeps").stdout == "no Keeps\n"
    assert json.loads(enarx_deploy("keeps", "--json").stdout) == []


def test_keeps_are_listed_oldest_first(enarx_deploy, keeps):
    head, *rows = enarx_deploy("keeps").stdout.splitlines()
    assert head.split() == ["ID", "NAME", "STATE", "BACKEND", "TARGET", "ENDPOINTS", "CREATED"]
    assert [row.split()[0] for row in rows] == ["aaa222", "bbb333", "aaa111"]
    assert "exited 7" in rows[2]
    assert "crashed (its host process is gone)" in rows[1]
    assert "web tls localhost:4433" in rows[0]


def test_a_long_reason_is_said_whole_and_shifts_its_own_row_alone(enarx_deploy, keeps, shelf):
    before = enarx_deploy("keeps").stdout.splitlines()
    reason = "the secrets db-password are not released: their file cannot be read by the Steward"
    keep(shelf, "ccc444", state="failed", reason=reason, created="2026-01-03T00:00:00Z")
    *others, last = enarx_deploy("keeps").stdout.splitlines()
    assert others == before
    assert f"failed ({reason})" in last


def test_what_a_stranger_said_of_a_keep_moves_no_cursor(enarx_deploy, shelf):
    shelf.parent.mkdir(parents=True, mode=0o700)
    keep(shelf, "aaa111", state="crashed", reason="\x1b[2Jgone\x9b31m")
    shown = enarx_deploy("keeps").stdout
    assert "\\x1b[2Jgone\\x9b31m" in shown
    assert shown.replace("\n", "").isprintable()


def test_keeps_as_json_hold_everything(enarx_deploy, keeps):
    first = json.loads(enarx_deploy("keeps", "--json").stdout)[0]
    assert first == {
        "id": "aaa222",
        "name": "oak",
        "state": "running",
        "backend": "shelf",
        "target": "shelf",
        "package": "sha256:" + "0" * 64,
        "endpoints": [ENDPOINT],
        "created": "2026-01-01T00:00:00Z",
        "pid": 0,
        "exit_status": None,
        "cause": "",
        "reason": "",
        "limits": [],
        "certificate_not_before": "",
        "certificate_not_after": "",
        "metrics": "",
        "renewal_failure": "",
        "host": "",
        "version": 0,
        "restarts": 0,
        "unheld": "",
        "health_failure": "",
    }


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("aaa111", "aaa111"), ("bb", "bbb333"), ("beech", "bbb333"), ("oak", "aaa222")],
    ids=["id", "beginning of an id", "name", "name of one that runs and one that does not"],
)
def test_a_keep_is_named_by_id_prefix_or_name(enarx_deploy, keeps, reference, meant):
    assert enarx_deploy("logs", reference).stdout.startswith(f"{meant} all once\n")


def test_a_name_of_ended_keeps_means_the_newest(enarx_deploy, keeps, shelf):
    keep(shelf, "aaa222", state="exited")
    assert enarx_deploy("logs", "oak").stdout.startswith("aaa111 ")


@pytest.mark.parametrize("command", ["logs", "stop"])
def test_a_reference_that_may_mean_several_is_refused(enarx_deploy, keeps, command):
    ended = enarx_deploy(command, "aaa")
    assert ended.returncode == 2
    assert "'aaa' may mean 2 Keeps: aaa222, aaa111" in ended.stderr


def test_stop_by_name_stops_all_of_that_name_that_run(enarx_deploy, keeps, shelf):
    keep(shelf, "ccc444")
    assert enarx_deploy("stop", "oak").returncode == 0
    assert (shelf / "calls").read_text() == "stop aaa222 10\nstop ccc444 10\n"


@pytest.mark.parametrize("reference", ["nobody", ""])
def test_a_keep_that_nobody_knows(enarx_deploy, keeps, reference):
    ended = enarx_deploy("stop", reference)
    assert ended.returncode == 2
    assert f"no Keep is known as {reference!r}" in ended.stderr


def test_logs_without_a_keep_are_those_of_the_project_here(enarx_deploy, keeps, shelf):
    keep(shelf, "ddd555", name="oak-shelf")
    assert enarx_deploy("logs").stdout.startswith("ddd555 all once\n")
    (enarx_deploy.directory / "elsewhere").mkdir()
    ended = enarx_deploy("logs", "-C", "elsewhere")
    assert ended.returncode == 2
    assert "say whose log to show: there is no project here" in ended.stderr


def test_logs_are_byte_for_byte(enarx_deploy, keeps):
    words = [sys.executable, "-m", "enarx_deploy", "logs", "bbb333", "-f", "--stream", "stderr"]
    out = subprocess.run(words, check=True, capture_output=True, env=enarx_deploy._environment()).stdout
    assert out == b"bbb333 stderr followed\n\xff\x00 not text\n"


def test_logs_as_json_are_one_object_per_piece(enarx_deploy, keeps):
    lines = enarx_deploy("logs", "bbb333", "--json").stdout.splitlines()
    assert json.loads(lines[0]) == {"keep": "bbb333", "text": "bbb333 all once\n"}
    assert json.loads(lines[1]) == {"keep": "bbb333", "text": "\ufffd\x00 not text\n"}


def test_stop_passes_the_grace_and_says_how_it_ended(enarx_deploy, keeps, shelf):
    ended = enarx_deploy("stop", "aaa222", "--grace", "2.5")
    assert ended.stdout == "aaa222 exited, exit status 0\n"
    assert (shelf / "calls").read_text() == "stop aaa222 2.5\n"


def test_stop_of_one_that_has_ended_does_nothing_and_says_so(enarx_deploy, keeps, shelf):
    ended = enarx_deploy("stop", "beech")
    assert ended.returncode == 0
    assert "Keep bbb333 was not running: it is crashed" in ended.stderr
    assert not (shelf / "calls").exists()


def test_stop_all_stops_those_that_run(enarx_deploy, keeps, shelf):
    statuses = json.loads(enarx_deploy("stop", "--all", "--json").stdout)
    assert [(status["id"], status["state"]) for status in statuses] == [("aaa222", "exited")]
    assert (shelf / "calls").read_text() == "stop aaa222 10\n"


@pytest.mark.parametrize("words", [[], ["aaa222", "--all"]])
def test_stop_wants_to_know_which(enarx_deploy, keeps, words):
    ended = enarx_deploy("stop", *words)
    assert ended.returncode == 2
    assert "say which Keeps to stop" in ended.stderr


def test_several_keeps_are_all_known_before_one_is_stopped(enarx_deploy, keeps, shelf):
    assert enarx_deploy("stop", "aaa222", "nobody").returncode == 2
    assert not (shelf / "calls").exists()


def test_a_target_that_cannot_say_hides_no_other(enarx_deploy, keeps, install_plugin):
    install_plugin("deaf", DEAF_TARGET)
    ended = enarx_deploy("keeps")
    assert ended.returncode == 0
    assert "aaa222" in ended.stdout
    assert "warning: target deaf: plugin 'deaf' of dist-deaf 1.0 failed: RuntimeError: who is there?" in ended.stderr


DEAF_TARGET = """
from enarx_deploy.hookspecs import hookimpl

class Deaf:
    name = "deaf"
    def keeps(self):
        raise RuntimeError("who is there?")
    check = start = request_certificate = install_certificate = renew_certificate = logs = stop = keeps

@hookimpl
def register_targets():
    return [Deaf()]
"""


def test_platform_shows_check_by_check_what_to_do(enarx_deploy, shelf):
    shown = enarx_deploy("platform", "shelf", env={"SHELF_MISSING": "no wood"})
    assert shown.returncode == 0
    assert shown.stdout == (
        "shelf: cannot be used here (no hardware protection)\n  FAIL wood: no wood\n       plant a tree\n"
    )
    assert enarx_deploy("platform", "shelf").stdout == (
        "shelf: can be used here (no hardware protection)\n  ok   wood: oak\n"
    )


def test_platform_as_json_lists_every_backend(enarx_deploy, shelf):
    probes = json.loads(enarx_deploy("platform", "--json").stdout)
    ours = next(probe for probe in probes if probe["backend"] == "shelf")
    assert ours == {
        "backend": "shelf",
        "available": True,
        "hardware": False,
        "checks": [{"name": "wood", "ok": True, "detail": "oak", "hint": "", "under": "", "required": True}],
    }
