"""A service whose Keep shares no memory with its host: all goes through the channel that virtual machines have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.end_to_end.conftest import NO_LOOKS

CLIENTS = 40
EACH = 1 << 20


@pytest.fixture
def carried(cli, install_plugin, echo_project, up):
    """An echo service of the backend `carried`."""
    install_plugin("carried", (Path(__file__).parent / "carried.py").read_text())
    return up(echo_project(extra=NO_LOOKS), "--backend", "carried")


def test_clients_at_once_get_their_bytes_back_through_the_channel(carried, read_exactly, eventually) -> None:
    context = carried.context()
    eventually(lambda: carried.counters()["open"] == 0, "the looks of whoever deployed it are over")
    before = carried.counters()
    connections = [carried.connect(context) for _ in range(CLIENTS)]

    def exchange(number: int) -> bool:
        data = number.to_bytes(4, "big") * (EACH // 4)
        client = connections[number]
        got = bytearray()
        for start in range(0, EACH, 32768):
            client.sendall(data[start : start + 32768])
            got += read_exactly(client, 32768)
        return bytes(got) == data

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert all(pool.map(exchange, range(CLIENTS)))
    counters = carried.counters()
    assert counters["open"] == CLIENTS
    assert [counters[name] - before[name] for name in ("accepted", "handshakes_done")] == [CLIENTS, CLIENTS]
    for connection in connections:
        connection.close()


def test_what_it_writes_is_logged_and_it_ends_when_told(carried, cli, eventually) -> None:
    assert carried.echoes()
    eventually(
        lambda: "echo: listening" in cli("logs", carried.id, "--stream", "stdout").stdout, "what it wrote is logged"
    )
    assert cli("stop", carried.id).returncode == 0
    assert carried.status()["state"] == "exited"
