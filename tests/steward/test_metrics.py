"""Metrics: off unless asked for, on a listener of their own, and without a word of a requester's."""

from __future__ import annotations

import json
import re
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from enarx_steward.record import find
from enarx_steward.root import ROOT_LIFETIME


@pytest.fixture
def metered(start):
    """A Steward that serves metrics, and where."""
    running = start("--metrics", "127.0.0.1:0")
    return running, find(running.state).metrics_url


def read(http: httpx.Client, url: str) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels, in the order of the labels' names."""
    answer = http.get(url).raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("enarx_steward_"), *dict(sorted(sample.labels.items())).values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_without_the_option_there_are_none(start, http):
    running = start()
    assert find(running.state).metrics_url == ""
    assert http.get(f"{running.client.url}/metrics").status_code == 404


def test_what_is_issued_and_what_is_refused_is_counted(metered, http, keep):
    running, url = metered
    steward = running.client
    steward.certify(keep)
    for _ in range(2):
        steward.ask(keep.request(), b"n" * 32, keep.evidence(b"n" * 32, "x"))
    steward.enarx(keep.request())
    steward.ask(b"none", b"n" * 32, b"{}")
    found = read(http, url)
    assert found["decisions_total", "issued", "nil", "v1"] == 1
    assert found["decisions_total", "refused", "nil", "v1"] == 2
    assert found["decisions_total", "issued", "nil", "enarx"] == 1
    assert found["failed_checks_total", "nonce.open"] == 2
    assert found["log_seq",] == 4


def test_answers_are_timed_by_route(metered, http):
    running, url = metered
    for path in ("/v1/info", "/v1/info", "/v1/no-such-secret", "/"):
        running.client.http.get(running.client.url + path)
    found = read(http, url)
    assert found["request_seconds_count", "/v1/info", "200"] == 2
    assert found["request_seconds_count", "other", "404"] == 1
    assert found["request_seconds_count", "/", "200"] == 1
    assert found["request_seconds_bucket", "+Inf", "/v1/info", "200"] == 2
    assert "no-such-secret" not in http.get(url).text


def test_open_challenges_and_what_will_end(metered, http):
    running, url = metered
    for _ in range(3):
        running.client.nonce()
    found = read(http, url)
    assert found["open_challenges",] == 3
    assert 0 <= ROOT_LIFETIME.total_seconds() - found["root_seconds_left",] < 7200
    assert 29 * 86400 < found["intermediate_seconds_left",] < 31 * 86400
    assert 0 <= time.time() - found["start_time_seconds",] < 600


def test_collateral_that_ages_is_told_by_its_kind(start, state, http):
    entries = state / "collateral" / "entries"
    for number, end in (("1", "2030-01-01"), ("2", "2029-01-01")):
        item = {"kind": "tcb-info", "key": ["sgx", f"0000000{number}"]}
        entry = {"item": item, "sha256": "0" * 64, "size": 1, "not_before": "2020-01-01T00:00:00Z"}
        path = entries / "tcb-info" / "sgx" / f"0000000{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(json.dumps(entry | {"not_after": f"{end}T00:00:00Z", "order": [1, 1]}))
    running = start("--metrics", "127.0.0.1:0")
    found = read(http, find(running.state).metrics_url)
    left = found["collateral_seconds_left", "tcb-info"]
    assert abs(left - (1861920000 - time.time())) < 600


def test_a_page_that_takes_the_listener_for_its_own_is_refused(metered, http):
    _, url = metered
    assert http.get(url, headers={"Host": "bank.example"}).status_code == 421
    assert http.get(url.replace("/metrics", "/v1/info")).status_code == 404


def test_an_address_of_ipv6_is_told_in_json(enarx_deploy, http):
    process = enarx_deploy.start("steward", "--json", "--metrics", "[::1]:0")
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    url = json.loads(text)["metrics_url"]
    assert re.fullmatch(r"http://\[::1\]:\d+/metrics", url)
    assert read(http, url)["log_seq",] == 0
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_place_that_is_none_is_refused(run):
    ended = run("--metrics", "metrics")
    assert ended.returncode == 1
    assert "is not an IP address and a port" in ended.stderr
