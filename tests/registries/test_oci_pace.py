"""A registry whose answers do not come to an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.dripping import dripping

from enarx_deploy.errors import RegistryError
from enarx_deploy.reference import Reference
from enarx_registries import oci_http
from enarx_service import pace

DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two attempts."""
    monkeypatch.setattr(oci_http, "_FIRST_PAUSE", 0.0)


@pytest.mark.parametrize("drips_from", ["head", "body", "framing"])
def test_an_answer_that_comes_a_byte_at_a_time_is_cut_off(monkeypatch: pytest.MonkeyPatch, drips_from: str) -> None:
    monkeypatch.setattr(pace, "PATIENCE", 0.3)
    with dripping(drips_from) as host, oci_http.connected(Reference("oci+http", host, "a/b", "1", "")) as connection:
        with pytest.raises(RegistryError, match="cannot be reached"):
            connection.ask("GET", connection.url("tags/list"), tries=1)
        with pytest.raises(RegistryError, match="cannot be reached"):
            b"".join(connection.blob(DIGEST))


def test_interim_answers_come_to_an_end() -> None:
    with dripping("interims") as host, oci_http.connected(Reference("oci+http", host, "a/b", "1", "")) as connection:
        with pytest.raises(RegistryError, match="one interim answer follows another"):
            connection.ask("GET", connection.url("tags/list"), tries=1)
        with pytest.raises(RegistryError, match="one interim answer follows another"):
            b"".join(connection.blob(DIGEST))


def test_a_few_interim_answers_are_passed_over(interim_registry: str) -> None:
    with oci_http.connected(Reference("oci+http", interim_registry, "a/b", "1", "")) as connection:
        assert connection.ask("GET", connection.url("tags/list"), tries=1).body == b"HTTP/1.1 100\n\n" * 10_000


@pytest.fixture
def interim_registry() -> Iterator[str]:
    """One that answers each request with what looks like interim answers, after five that are."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            for _ in range(5):
                self.send_response_only(103)
                self.send_header("Link", f"<{'x' * 2000}>")
                self.end_headers()
            body = b"HTTP/1.1 100\n\n" * 10_000
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        protocol_version = "HTTP/1.1"

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_blob_that_keeps_the_pace_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes several times as long as the registry has for the head of an answer."""
    monkeypatch.setattr(pace, "PATIENCE", 1.0)
    monkeypatch.setattr(pace, "LEAST_RATE", 1)
    with dripping("body", 60) as host, oci_http.connected(Reference("oci+http", host, "a/b", "1", "")) as connection:
        assert connection.ask("GET", connection.url("tags/list"), tries=1).body == b"1" * 60
