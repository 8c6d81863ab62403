"""Whether memory or descriptors grow while clients come and go.

    python -m benches.soak                   100,000 connections in clear and as many by TLS: some minutes
    python -m benches.soak --cycles 2000     a short look

Each cycle connects, has a message echoed and closes. A tenth of the cycles comes first and is not held against the
Keep: its pools and rings are as large as they will be after it. Ends with status 1 if something grew.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benches import peers

CLIENTS = 4
_MESSAGE = b"x" * 64
ALLOWED_KIB = 4 * 1024
"""What may come and go without being growth: a page here and there of an interpreter that serves `status`."""


@dataclass(frozen=True)
class Use:
    """What a Keep's processes hold."""

    descriptors: int
    resident_kib: int

    @classmethod
    def of(cls, keep: peers.Keep) -> Use:
        """Now; descriptors of connections that were closed a moment ago are waited for."""
        least = keep.descriptors()
        for _ in range(50):
            time.sleep(0.02)
            least = min(least, keep.descriptors())
        return cls(least, keep.resident_kib())

    def growth(self, later: Use) -> list[str]:
        """What grew, in lines."""
        grown = []
        if later.descriptors > self.descriptors:
            grown.append(f"descriptors: {self.descriptors} -> {later.descriptors}")
        if later.resident_kib > self.resident_kib + ALLOWED_KIB:
            grown.append(f"resident memory: {self.resident_kib:,} -> {later.resident_kib:,} KiB")
        return grown


def main() -> int:
    """Soak a Keep of either kind; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.soak", description="Look for growth while clients come and go."
    )
    parser.add_argument("--cycles", type=int, default=100_000, help="connections of each kind (default: 100000)")
    cycles = parser.parse_args().cycles
    failed = False
    for prot in ("tcp", "tls"):
        with tempfile.TemporaryDirectory(prefix="enarx-soak.") as name, peers.keep(Path(name), prot) as keep:
            before, after = soak(keep, cycles, tls=prot == "tls")
        print(f"{prot}: {cycles:,} cycles: {before} -> {after}", flush=True)
        for line in before.growth(after):
            failed = True
            print(f"{prot}: grew: {line}", flush=True)
    return int(failed)


def soak(keep: peers.Keep, cycles: int, *, tls: bool) -> tuple[Use, Use]:
    """What the Keep held after a tenth more, and after `cycles` cycles on top of those."""
    context = _unverified() if tls else None
    _cycles(keep.port, cycles // 10 + 100, context)
    before = Use.of(keep)
    _cycles(keep.port, cycles, context)
    return before, Use.of(keep)


def _cycles(port: int, count: int, context: ssl.SSLContext | None) -> None:
    left = threading.Semaphore(count)

    def client() -> None:
        while left.acquire(blocking=False):
            _cycle(port, context)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()


def _cycle(port: int, context: ssl.SSLContext | None) -> None:
    with contextlib.ExitStack() as stack:
        stream: socket.socket = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        if context is not None:
            stream = stack.enter_context(context.wrap_socket(stream, server_hostname="localhost"))
        stream.sendall(_MESSAGE)
        answer = b""
        while len(answer) < len(_MESSAGE):
            part = stream.recv(len(_MESSAGE))
            assert part, "the Keep closed a connection before it had answered"
            answer += part


def _unverified() -> ssl.SSLContext:
    """Certificates are not what is measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main())
