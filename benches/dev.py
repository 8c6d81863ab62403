"""How long it takes from a saved source to its service: `enarx-deploy dev` on the C echo template."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches.figures import Bound, Ratio, Section
from benches.peers import ECHO, PROGRAM

ROUNDS = 10


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Seconds from the save to an echo by TLS, after the first build."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name:
        project = Path(name) / "echo"
        shutil.copytree(ECHO, project)
        with _developing(project) as events:
            first = json.loads(next(events))
            port = first["endpoints"][0]["port"]
            saved = [_save(project, number, port, events) for number in range(ROUNDS + 1)][1:]
    rows = [
        ["first build and start", f"{first['seconds']:.2f}"],
        ["save to served, median", f"{statistics.median(saved):.2f}"],
        ["save to served, worst", f"{max(saved):.2f}"],
    ]
    ratio = Ratio("save to served, C echo by TLS (s)", statistics.median(saved), "less", Bound(1.0, 0.5))
    return Section("`dev`: from a saved source to the new service (s)", ["what", "s"], rows, [ratio])


@contextmanager
def _developing(project: Path) -> Iterator[Iterator[str]]:
    """A running `dev`, and its events as they come."""
    command: list[str | Path] = [PROGRAM, "-C", project, "dev", "--json", "--set", "files.echo.port=0"]
    process: subprocess.Popen[str] = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield iter(process.stdout or ())
    finally:
        process.terminate()
        process.wait()


def _save(project: Path, number: int, port: int, events: Iterator[str]) -> float:
    """Save another program, wait until it serves, and have it send something back."""
    source = project / "main.c"
    text = source.read_text().partition("\n/* saved */")[0]
    began = time.monotonic()
    source.write_text(f'{text}\n/* saved */ __attribute__((used)) const char saved[] = "{number}";\n')
    event: dict[str, Any] = json.loads(next(events))
    if event["event"] != "serving":
        raise RuntimeError(f"dev says {event}")
    _echo(port)
    return time.monotonic() - began


def _echo(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who it is, is not what is measured
    with socket.create_connection(("localhost", port)) as raw, context.wrap_socket(raw) as connection:
        connection.sendall(b"hello\n")
        if connection.recv(6) != b"hello\n":
            raise RuntimeError("the echo did not come back")
