"""Memory of connections by TLS that are held open and say nothing."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benches import peers
from benches.figures import Bound, Ratio, Section

WANTED = 10_000
_SPARE = 200
"""Descriptors that each process has beside those of connections."""


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """KiB for each idle connection, of the Keep, its host process and the block between them together."""
    connections = _let_open(WANTED + _SPARE) - _SPARE
    load = peers.build_load()
    settings = (f"resources.connections={connections}", f"resources.descriptors={connections + _SPARE}")
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name, peers.keep(Path(name), "tls", *settings) as keep:
        before = keep.resident_kib()
        with _held(load, keep.port, connections) as held:
            after = keep.resident_kib()
        each = (after - before) / held
    rows = [["before the first", f"{before:,}"], [f"with {held:,}", f"{after:,}"], ["for each", f"{each:.1f}"]]
    ratio = Ratio(f"KiB resident for each of {held:,} idle TLS connections", each, "less", Bound(80, 40))
    note = "" if held >= WANTED else f"This machine's limit on descriptors allows {held:,} connections, not {WANTED:,}."
    return Section("Idle TLS connections (KiB)", ["connections", "resident"], rows, [ratio], note)


def _let_open(wanted: int) -> int:
    """Let this process and those that it starts open as many descriptors as `wanted`, or as many as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    return limit


@contextlib.contextmanager
def _held(load: Path, port: int, connections: int) -> Iterator[int]:
    """Hold connections open in a process of its own; answers how many."""
    words = [str(load), str(port), str(connections), "64", "0", "hold"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()
