"""A registry whose answers do not come to an end."""

from __future__ import annotations

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


def test_a_blob_that_keeps_the_pace_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes many times as long as the registry has for the head of an answer."""
    monkeypatch.setattr(pace, "PATIENCE", 0.3)
    monkeypatch.setattr(pace, "LEAST_RATE", 5)
    with dripping("body", 40) as host, oci_http.connected(Reference("oci+http", host, "a/b", "1", "")) as connection:
        assert connection.ask("GET", connection.url("tags/list"), tries=1).body == b"1" * 40
