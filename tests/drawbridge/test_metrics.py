"""What Prometheus is told: numbers of requests and of what there is, and no requester's words."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


def samples(url: str) -> dict[tuple[str, ...], float]:
    text = httpx.get(url, timeout=120).raise_for_status().text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_what_they_ask_for_and_what_there_is_by_kind(start, provider, package):
    server = start("--metrics", "127.0.0.1:0")
    url = server.process.stdout.readline().removeprefix("metrics at ").strip()
    client = server.client(provider.token())
    client.register()
    client.publish(package, "1.0.0")
    client.get("testuser/hello/_tag/9.9.9")
    client.get("a-secret-name/hello/_tag/x/y/z")
    found = samples(url)
    count = "enarx_drawbridge_request_seconds_count"
    assert found[(count, "PUT", "201", "tree")] == len(package.nodes)
    assert found[(count, "PUT", "201", "tag")] == 1
    assert found[(count, "GET", "404", "tag")] == 1
    assert found[(count, "GET", "404", "other")] == 1
    assert {name: found[(f"enarx_drawbridge_{name}",)] for name in ("users", "repositories", "tags", "uploads")} == {
        "users": 1,
        "repositories": 1,
        "tags": 1,
        "uploads": 0,
    }
    assert found[("enarx_drawbridge_free_bytes",)] > 0
    assert "a-secret-name" not in httpx.get(url, timeout=120).text


def test_metrics_are_not_on_the_registrys_own_listener(server):
    assert server.http.get(f"{server.url}/metrics").status_code == 404
