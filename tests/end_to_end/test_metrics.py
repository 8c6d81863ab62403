"""Metrics and health of a Keep, as a monitoring system sees them."""

from __future__ import annotations

import json
import os
import signal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.end_to_end.conftest import NO_LOOKS


@pytest.fixture
def watched(up, echo_project):
    """An echo service that serves metrics on a free port, and is looked at when it starts alone."""
    return up(echo_project(extra='[deploy.default]\nmetrics = "127.0.0.1:0"\n' + NO_LOOKS))


def get(address: str, path: str, **headers: str) -> tuple[int, str]:
    answer = httpx.get(f"http://{address}{path}", headers=headers, timeout=120)
    return answer.status_code, answer.text


def samples(address: str) -> dict[tuple[str, str], float]:
    """By name and the value of its one label, if it has one."""
    families = text_string_to_metric_families(get(address, "/metrics")[1])
    found = [sample for family in families for sample in family.samples]
    return {
        (sample.name, next(iter(sample.labels.values()), "") if len(sample.labels) < 2 else ""): sample.value
        for sample in found
    }


def test_connections_bytes_and_handshakes_are_counted(watched, eventually) -> None:
    address = watched.status()["metrics"]
    eventually(lambda: samples(address)["enarx_keep_connections_open", ""] == 0, "the looks are over")
    before = samples(address)
    looked = before["enarx_keep_connections_total", ""]  # whether it is healthy, before clients were let in and after
    assert looked == 2
    with watched.connect() as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(6) == b"hello\n"
        during = samples(address)
    assert during["enarx_keep_connections_open", ""] == 1
    assert during["enarx_keep_connections_total", ""] == looked + 1
    assert during["enarx_keep_tls_handshakes_total", "done"] == 1
    assert during["enarx_keep_bytes_total", "in"] > len("hello\n")
    assert during["enarx_keep_bytes_total", "out"] > len("hello\n")
    assert during["enarx_keep_state", "running"] == 1
    assert during["enarx_keep_state", "failed"] == 0
    assert during["enarx_keep_resident_memory_bytes", ""] > 1 << 20
    assert during["enarx_keep_cpu_seconds_total", ""] > 0
    assert during["enarx_keep_certificate_not_after_seconds", ""] > 1.7e9
    eventually(lambda: samples(address)["enarx_keep_connections_open", ""] == 0, "the connection has ended")


def test_a_client_that_speaks_no_tls_is_a_handshake_that_failed(watched, eventually) -> None:
    import socket

    address = watched.status()["metrics"]

    def failed() -> float:
        return samples(address)["enarx_keep_tls_handshakes_total", "failed"]

    eventually(lambda: failed() == 2, "the looks whether it is healthy, which end before the handshake, are counted")
    with socket.create_connection(("127.0.0.1", watched.port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.recv(1024)
    eventually(lambda: failed() == 3, "the failure is counted")


def test_nothing_of_what_is_said_is_told(watched) -> None:
    secret = b"correct horse battery staple\n"
    with watched.connect() as connection:
        connection.sendall(secret)
        connection.recv(len(secret))
    text = get(watched.status()["metrics"], "/metrics")[1]
    assert not any(word in text for word in secret.decode().split())


def test_health(watched) -> None:
    address = watched.status()["metrics"]
    status, body = get(address, "/healthz")
    assert (status, json.loads(body)["state"]) == (200, "running")
    assert get(address, "/other")[0] == 404
    port = address.rpartition(":")[2]
    assert get(f"localhost:{port}", "/healthz")[0] == 200


def test_a_web_page_whose_name_leads_here_is_refused(watched) -> None:
    address = watched.status()["metrics"]
    for host in ("rebound.example", f"rebound.example:{address.rpartition(':')[2]}", ""):
        assert get(address, "/metrics", Host=host)[0] == 421


@pytest.mark.usefixtures("patient")
def test_a_keep_that_drains_is_not_healthy(watched, eventually) -> None:
    address = watched.status()["metrics"]
    with watched.connect():
        os.kill(watched.host_pid, signal.SIGTERM)
        eventually(lambda: get(address, "/healthz")[0] == 503, "it says that it is going")


def test_metrics_are_served_only_where_asked_for_and_only_on_this_machine(cli, service, echo_project) -> None:
    assert service().status()["metrics"] == ""
    project = str(echo_project("another"))
    for address in ("0.0.0.0:9464", "example.com:9464", "127.0.0.1", "127.0.0.1:99999"):
        refused = cli("up", "-C", project, "--metrics", address)
        assert refused.returncode in (1, 2)
        assert "loopback" in refused.stderr
    by_manifest = cli("check", "-C", project, "--set", "deploy.default.metrics=0.0.0.0:9464")
    assert by_manifest.returncode != 0
    assert "loopback" in by_manifest.stderr
