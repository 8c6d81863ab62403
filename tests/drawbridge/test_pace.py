"""A registry whose answers do not come to an end."""

from __future__ import annotations

import pytest
from tests.dripping import dripping

from enarx_drawbridge.client import http
from enarx_drawbridge.client.connection import Place, connected
from enarx_drawbridge.client.errors import Unreachable
from enarx_drawbridge.client.logins import Logins
from enarx_drawbridge.directory_form import entry_of
from enarx_service import pace


@pytest.mark.parametrize("drips_from", ["head", "body", "framing"])
def test_an_answer_that_comes_a_byte_at_a_time_is_cut_off(monkeypatch, tmp_path, drips_from):
    monkeypatch.setattr(pace, "PATIENCE", 0.2)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    with (
        dripping(drips_from) as host,
        connected(Place(host, in_clear=True), Logins(tmp_path)) as connection,
    ):
        with pytest.raises(Unreachable, match="does not answer"):
            connection.get("a/b/_tag/1.0.0")
        with pytest.raises(Unreachable, match="breaks off"):
            list(connection.chunks("a/b/_tag/1.0.0/tree/main.wasm", entry_of(b"1" * 100_000, "a/b")))
