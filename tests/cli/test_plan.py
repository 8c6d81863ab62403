"""`plan`, and `up` and `deploy` that say the same before they act: what would change, and whether it may."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest


@pytest.fixture
def manifest(enarx_deploy, shelf):
    return enarx_deploy.directory / "Enarx.toml"


@pytest.fixture
def plan(enarx_deploy, manifest):
    def made(*words: str) -> dict:
        ended = enarx_deploy("plan", "--json", *words)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return made


def changes(plan: dict) -> dict[str, tuple[str, str]]:
    return {f"{one['part']} {one['name']}".strip(): (one["before"], one["after"]) for one in plan["changes"]}


def test_what_was_never_deployed_is_created_and_nothing_is_started(plan, shelf):
    made = plan()
    assert (made["action"], made["keeps"], made["replicas"]) == ("create", [], 1)
    assert changes(made)["backend"] == ("", "shelf")
    assert changes(made)["certificate"] == ("", "a new one by shelf")
    assert "start" not in (shelf / "calls").read_text()


def test_what_is_deployed_and_unchanged_changes_nothing(enarx_deploy, plan):
    assert enarx_deploy("up").returncode == 0
    assert (plan()["action"], plan()["changes"]) == ("none", [])
    assert enarx_deploy("plan").stdout == "default: oak-shelf on target shelf, backend shelf: nothing changes\n"


def test_each_difference_is_named(enarx_deploy, plan, manifest):
    manifest.write_text(manifest.read_text() + '[env]\nTOKEN = "open sesame"\n')
    assert enarx_deploy("up").returncode == 0
    manifest.write_text(manifest.read_text().replace("4433", "8443").replace("open sesame", "shibboleth"))
    (enarx_deploy.directory / "main.shelf").write_text("pine")
    made = plan("--set", "deploy.default.replicas=3")
    found = changes(made)
    assert (made["action"], made["keeps"]) == ("replace", ["k001"])
    assert found["manifest files[web].port"] == ("4433", "8443")
    assert found["manifest env.TOKEN"] == ("(hidden)", "(hidden)")
    assert found["replicas"] == ("1", "3")
    assert found["package"][1] == made["package"] != found["package"][0]
    assert found["policy measurements.package"] == found["package"]
    assert {"package main.wasm", "package Enarx.toml", "certificate"} <= found.keys()
    assert not {"backend", "name", "target", "metrics"} & found.keys()
    assert "shibboleth" not in json.dumps(made)


def test_people_see_it_too(enarx_deploy, manifest):
    assert enarx_deploy("up").returncode == 0
    manifest.write_text(manifest.read_text().replace("4433", "8443"))
    ended = enarx_deploy("plan")
    assert ended.stdout.startswith(
        "default: oak-shelf on target shelf, backend shelf: Keep k001 would be replaced by 1 Keep\n"
    )
    assert "files[web].port: 4433 → 8443" in ended.stdout


@pytest.mark.parametrize(("deployed", "status"), [(False, 4), (True, 0)])
def test_the_status_says_whether_anything_would_change(enarx_deploy, manifest, deployed, status):
    if deployed:
        assert enarx_deploy("up").returncode == 0
    assert enarx_deploy("plan", "--detailed-exitcode").returncode == status
    assert enarx_deploy("plan").returncode == 0


def test_a_plan_refuses_a_weaker_backend_as_up_does(enarx_deploy, manifest):
    ended = enarx_deploy("plan", "--detailed-exitcode", "--backend", "nil", "--set", "deploy.default.minimum=shelf")
    assert ended.returncode == 2
    assert "is weaker than 'shelf'" in ended.stderr


def test_without_a_terminal_nobody_is_asked_and_the_plan_is_said(enarx_deploy, manifest):
    ended = enarx_deploy("up")
    assert ended.returncode == 0
    assert "oak-shelf on target shelf, backend shelf: 1 Keep would be started\n" in ended.stderr
    assert "would be" not in enarx_deploy("up").stderr


def on_a_terminal(enarx_deploy, words: list[str], answer: bytes, **environment: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx_deploy", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=enarx_deploy.directory,
        env=enarx_deploy._environment() | {"TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "200"} | environment,
    )
    os.close(theirs)
    os.write(ours, answer)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody is left at its other end
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    return process.wait(60), shown.decode()


@pytest.mark.parametrize("command", ["up", "deploy"])
def test_on_a_terminal_it_is_done_when_the_answer_is_yes(enarx_deploy, manifest, shelf, command):
    status, shown = on_a_terminal(enarx_deploy, [command], b"n\n")
    assert status == 1
    assert "1 Keep would be started" in shown
    assert "Do this? [y/N]" in shown
    assert "nothing was deployed, as you answered" in shown
    assert "start" not in (shelf / "calls").read_text()
    status, shown = on_a_terminal(enarx_deploy, [command], b"y\n")
    assert status == 0, shown
    assert "start" in (shelf / "calls").read_text()
    assert "Do this?" not in on_a_terminal(enarx_deploy, [command], b"n\n")[1]  # nothing changes


@pytest.mark.parametrize(
    ("words", "environment"), [(["up", "--yes"], {}), (["up"], {"CI": "true"}), (["up"], {"TERM": "dumb"})]
)
def test_nobody_is_asked(enarx_deploy, manifest, words, environment):
    status, shown = on_a_terminal(enarx_deploy, words, b"", **environment)
    assert status == 0, shown
    assert "Do this?" not in shown
    assert "would be started" in shown
    assert ("\x1b" in shown) is not bool(environment)


def test_there_is_no_colour_where_none_is_wanted(enarx_deploy, manifest):
    _, shown = on_a_terminal(enarx_deploy, ["up", "--yes"], b"", NO_COLOR="1")
    assert "\x1b[3" not in shown.replace("\x1b[3J", "")


HOLDS_THE_LOCK = """
import fcntl, sys, os
file = open(sys.argv[1], "a+b")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0); file.write(str(os.getpid()).encode()); file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_may_not_wait_for_another_says_which(enarx_deploy, manifest):
    assert enarx_deploy("compile").returncode == 0
    lock = enarx_deploy.directory / ".enarx" / "lock"
    words = [sys.executable, "-c", HOLDS_THE_LOCK, str(lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        for seconds in ("0", "0.2"):
            ended = enarx_deploy("up", "--wait-lock", seconds)
            assert ended.returncode == 1
            assert (
                f"another enarx-deploy (process {holder.pid}) is at work in this project, and nothing was"
                in ended.stderr
            )
            assert f"it was waited for {seconds} seconds; --wait-lock SECONDS says how long" in ended.stderr
        waiting = enarx_deploy.start("up", "--wait-lock", "60")
        assert any("waiting for it" in line for line in iter(waiting.stderr.readline, ""))
        holder.stdin.close()
    assert waiting.wait(60) == 0
    waiting.communicate()
