"""The servers in every language, put to many clients: no bytes are lost or mixed, and nobody waits for another."""

from __future__ import annotations

import asyncio
import codecs
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED: dict[str, Callable[[str], str]] = {
    "echo": str,
    "rot13": lambda text: codecs.encode(text, "rot13"),
}
SERVERS = [f"{service}{language}" for service in EXPECTED for language in ("", "-go", "-rust")]


async def answer_to(port: int, trust: ssl.SSLContext, text: str) -> str:
    """What comes back, of as many bytes."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
    data = text.encode()

    async def send() -> None:
        writer.write(data)
        await writer.drain()

    sending = asyncio.create_task(send())
    got = await reader.readexactly(len(data))
    await sending
    writer.transport.abort()
    return got.decode()


@pytest.mark.parametrize("name", SERVERS)
def test_many_clients_at_once_and_silent_ones(cli: Any, make_project: Callable[[str], Path], name: str) -> None:
    service = name.partition("-")[0]
    started = cli("up", "--json", "-C", str(make_project(name)), "--set", f"files.{service}.port=0")
    assert started.returncode == 0, started.stderr
    record = json.loads(started.stdout)
    port = record["endpoints"][0]["port"]
    trust = ssl.create_default_context(cafile=record["steward"]["root_pem_path"])
    texts = [f"The quick brown fox {number}! " * 2000 for number in range(40)]

    async def all_clients() -> list[str]:
        silent = [await asyncio.open_connection("localhost", port, ssl=trust) for _ in range(10)]
        answers = await asyncio.gather(*(answer_to(port, trust, text) for text in texts))
        for _, writer in silent:
            writer.transport.abort()
        return answers

    assert asyncio.run(all_clients()) == [EXPECTED[service](text) for text in texts]


def test_what_two_templates_share_is_the_same(make_project: Callable[[str], Path]) -> None:
    shared = "src/poll.rs"
    assert (make_project("rot13-rust") / shared).read_bytes() == (ROOT / "templates/echo-rust" / shared).read_bytes()
