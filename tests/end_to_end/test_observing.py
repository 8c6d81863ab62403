"""All Keeps of a user at once: `top`, and one place for Prometheus."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.end_to_end.conftest import NO_LOOKS

from enarx_deploy import paths
from enarx_deploy.host import state
from enarx_deploy.models import KeepStatus


@pytest.fixture
def two(up, echo_project):
    """Two Keeps: `one` speaks TLS, `two` does not."""
    return up(echo_project("one", NO_LOOKS)), up(echo_project("two", NO_LOOKS, prot="tcp"))


def values(text: str, name: str) -> dict[str, float]:
    """Of a metric, by the name of the Keep."""
    families = text_string_to_metric_families(text)
    return {
        sample.labels["keep_name"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels.get("state", "running") == "running"
    }


def test_top_and_metrics_of_all_keeps(two, cli, tmp_path, eventually) -> None:
    one, other = two
    eventually(lambda: not any(service.counters()["open"] for service in two), "the looks of `up` are over")
    with one.connect() as client:
        client.sendall(b"hello\n")
        assert client.recv(6) == b"hello\n"
        answered = cli("top", "--json")
        shown = cli("metrics")
        plain = cli("top", "--once")
    samples = {sample["status"]["name"]: sample for sample in json.loads(answered.stdout)}
    assert samples["one"]["usage"]["connections_open"] == 1
    assert samples["one"]["usage"]["memory"] > 1 << 20
    assert samples["one"]["cpu_percent"] >= 0
    assert samples["one"]["status"]["certificate_not_before"]
    assert samples["two"]["usage"]["connections_open"] == 0
    assert "0 s old" in plain.stdout or "old, 23 h left" in plain.stdout
    assert [line.split()[1:4] for line in plain.stdout.splitlines()] == [
        ["NAME", "REPLICA", "VERSION"],
        ["two", "1/1", "1"],
        ["one", "1/1", "1"],
    ]
    assert (samples["one"]["replica"], samples["one"]["replicas"]) == (1, 1)

    assert values(shown.stdout, "enarx_keep_connections_open") == {"one": 1, "two": 0}
    assert values(shown.stdout, "enarx_keep_state") == {"one": 1, "two": 1}
    assert set(values(shown.stdout, "enarx_keep_certificate_not_after_seconds")) == {"one"}

    # The last of a name is shown when it has ended, and what it used is not known any more.
    assert cli("stop", other.id).returncode == 0
    file = tmp_path / "keeps.prom"
    assert cli("metrics", "--textfile", str(file)).returncode == 0
    assert values(file.read_text(), "enarx_keep_state") == {"one": 1, "two": 0}
    assert set(values(file.read_text(), "enarx_keep_connections_open")) == {"one"}
    assert file.stat().st_mode & 0o777 == 0o644

    serving = cli.start("metrics", "--listen", "127.0.0.1:0")
    url = serving.stdout.readline().strip()
    with urllib.request.urlopen(f"http://{url.removeprefix('http://')}", timeout=120) as answer:
        assert values(answer.read().decode(), "enarx_keep_state") == {"one": 1, "two": 0}
    serving.send_signal(signal.SIGINT)
    assert serving.wait(120) == 130


def test_top_on_a_terminal_looks_again_until_it_is_interrupted(two, cli, eventually) -> None:
    said = on_a_terminal(cli, 160, 20)
    assert "\x1b[?1049h" in said  # a screen of its own, which is left again
    assert "\x1b[?1049l" in said
    assert "two" in said
    assert "no room" not in said


def test_a_terminal_shows_as_many_of_two_hundred_keeps_as_it_has_room_for(cli, monkeypatch) -> None:
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", cli.environment["ENARX_DEPLOY_STATE_DIR"])
    for number in range(200):
        status = KeepStatus(
            id=f"{number:012x}", name=f"a-name-of-many-letters-{number:03}", state="failed", backend="nil",
            target="local", package="sha256:" + "0" * 64, endpoints=[], created=f"2026-01-01T00:00:00.{number:03}Z",
        )  # fmt: skip
        state.write_status(paths.state_dir("keeps", status.id), status)
    said = on_a_terminal(cli, 80, 24)
    lines = [line.strip() for line in re.sub(r"\x1b\[[^a-zA-Z]*m|\r", "", said).splitlines()]
    assert lines[1].split() == ["NAME", "REPLICA", "STATE", "CONN", "IN/s", "OUT/s", "CPU", "MEMORY", "CERTIFICATE"]
    assert lines[23].startswith("`top --once` has all: no room for 179 more Keeps; ID, VERSION, BACKEND, TOTAL")
    assert "a-name-of-many-letters-…" in said
    assert len(json.loads(cli("top", "--json").stdout)) == 200
    assert len(cli("top").stdout.splitlines()) == 201


def on_a_terminal(cli, columns: int, rows: int) -> str:
    """What `top` writes to one of that size while it looks three times, until it is interrupted."""
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx_deploy", "top", "--interval", "0.2"],
        env=cli.environment | {"TERM": "xterm", "COLUMNS": f"{columns}", "LINES": f"{rows}"},
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
    )
    os.close(its_end)

    def read() -> bytes:
        try:
            return os.read(terminal, 65536)
        except OSError:  # as Linux says that nobody is at the other end any more
            return b""

    said = b""
    try:
        while said.count(b"CERTIFICATE") < 3 and (piece := read()):
            said += piece
        process.send_signal(signal.SIGINT)
        while piece := read():
            said += piece
        process.wait(120)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert process.returncode == 130
    return said.decode()


def test_metrics_are_for_this_machine_alone(cli) -> None:
    refused = cli("metrics", "--listen", "0.0.0.0:9464")
    assert refused.returncode == 2
    assert "is not a port of a loopback address" in refused.stderr
    both = cli("metrics", "--listen", "127.0.0.1:0", "--textfile", str(Path("x")))
    assert both.returncode == 2
