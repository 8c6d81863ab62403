"""The echo template as the native program that it also is: what it does with its clients is the same code in a Keep."""

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MIB = 1 << 20


@pytest.fixture(scope="session")
def native_echo(tmp_path_factory: pytest.TempPathFactory, zig_cache: Path) -> Path:
    compiler = ["cc"] if shutil.which("cc") else [sys.executable, "-m", "ziglang", "cc"]
    built = tmp_path_factory.mktemp("native") / "echo"
    words = ["-O2", "-Wall", "-Wextra", "-Werror", str(ROOT / "templates/echo/main.c"), "-o", str(built)]
    subprocess.run([*compiler, *words], check=True, env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(zig_cache)})
    return built


class Server:
    """A running echo server."""

    def __init__(self, program: Path, most_files: int) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

        self.process = subprocess.Popen(
            [program, "0"], stdout=subprocess.PIPE, text=True, preexec_fn=limit
        )  # nothing else runs between fork and exec
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def seconds_of_processor(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idles(self) -> bool:
        before = self.seconds_of_processor()
        time.sleep(0.5)
        return self.process.poll() is None and self.seconds_of_processor() - before < 0.1


@pytest.fixture
def start(native_echo: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start_one(most_files: int = 1024) -> Server:
        started.append(Server(native_echo, most_files))
        return started[-1]

    yield start_one
    for server in started:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


def all_of(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(MIB), b""))


async def echoed(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    got = await reader.read()
    await sending
    writer.close()
    await writer.wait_closed()
    return got


def test_many_clients_at_once_lose_no_byte_and_silent_ones_delay_nobody(server: Server) -> None:
    async def all_clients() -> list[bytes]:
        return await asyncio.gather(*(echoed(server.port, block) for block in blocks))

    blocks = [os.urandom(MIB // 4 + number) for number in range(100)]
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(server.connect())
        assert asyncio.run(all_clients()) == blocks
        assert server.idles()


def test_a_client_that_ends_its_half_gets_the_rest_and_then_the_end(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"x" * 50_000)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == b"x" * 50_000


def test_a_client_that_sends_nothing_and_ends_gets_the_end(server: Server) -> None:
    with server.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == b""


def test_a_client_that_does_not_read_is_held_back_and_others_are_served(server: Server) -> None:
    data = os.urandom(64 * MIB)
    with server.connect() as client, server.connect() as other:
        client.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += client.send(data[sent : sent + MIB])
                time.sleep(0.001)
        assert sent < len(data)  # held back, not swallowed
        assert server.idles()
        other.sendall(b"hello")
        assert other.recv(5) == b"hello"
        client.setblocking(True)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == data[:sent]


def test_a_client_that_breaks_off_is_dropped(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"x" * MIB)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with server.connect() as other:
        other.sendall(b"hello")
        assert other.recv(5) == b"hello"
    assert server.idles()


def test_more_clients_than_files_wait_until_one_ends(start: Callable[..., Server]) -> None:
    server = start(most_files=12)
    clients = [server.connect() for _ in range(30)]
    assert server.idles()
    for client in clients:
        with client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
