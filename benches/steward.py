"""How many certificates a Steward issues in a second, challenge and request, over TLS to this machine.

The log is on, in SQLite, and each entry is on the disk before its certificate is given out. Keys, requests and the
load's processes are made beforehand, and evidence is a document of a Keep without hardware, so that what is measured is
the Steward: how long a verdict over hardware's evidence takes is `attestation`'s matter.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from benches import peers
from benches.figures import Bound, Ratio, Section
from benches.steward_load import Found

CLIENTS = 4
"""Keep-alive connections, each with one request under way."""
FLOOR = 300
"""Certificates per second that a Steward on two cores must reach."""
TAIL = 30
"""Milliseconds within which 99 of 100 must be there, challenge and certificate."""
ROUNDS = 3
POLICY = """\
[ca]
trust_domain = "example.org"

[nil]
any_workload = true
names = ["localhost", "keep.example.org", "127.0.0.1"]
lifetime = "2h"
"""


@dataclass(frozen=True)
class Load:
    """What one round found: certificates per second, times in milliseconds, CPU milliseconds per certificate."""

    rate: float
    median: float
    tail: float
    steward: float
    clients: float


def measure(seconds: float) -> Section:
    """Certificates per second and their times, median of rounds; and what of that is the Steward's CPU time."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as folder:
        chain, key = peers.self_signed(Path(folder))
        with _steward(Path(folder), chain, key) as (process, url):
            loads = [_load(process, url, chain, seconds) for _ in range(ROUNDS)]
    found = sorted(loads, key=lambda load: load.rate)[ROUNDS // 2]
    signed = _signatures(seconds / 4)
    figures = (found.rate, found.median, found.tail, found.steward, found.clients)
    header = ["certificates/s", "p50 ms", "p99 ms", "Steward's CPU ms each", "load's CPU ms each"]
    ratios = [
        Ratio(f"certificates/s / the floor of {FLOOR}", found.rate / FLOOR, "more", Bound(1.0, 1.5)),
        Ratio(f"p99 / the ceiling of {TAIL} ms", found.tail / TAIL, "less", Bound(1.0, 0.5)),
        Ratio("Steward's CPU time of a certificate / of a bare P-256 signature", found.steward / 1000 * signed, "less"),
    ]
    note = (
        f"{CLIENTS} kept connections by TLS 1.3; a time is that of challenge and certificate. One core alone signs "
        f"{signed:,.0f} times a second; a certificate takes one signature, and a verification of the request's."
    )
    return Section("Certificates of a Steward", header, [[f"{figure:,.2f}" for figure in figures]], ratios, note)


@contextlib.contextmanager
def _steward(folder: Path, chain: Path, key: Path) -> Iterator[tuple[int, str]]:
    state = folder / "state"
    state.mkdir(mode=0o700)
    (state / "steward.toml").write_text(POLICY)
    command = [sys.executable, "-m", "enarx_steward", "--state", str(state), "--listen", "127.0.0.1:0"]
    with (
        (folder / "steward.log").open("wb") as log,
        subprocess.Popen(
            [*command, "--tls-cert", str(chain), "--tls-key", str(key)], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().split()[2].rstrip(",")
        finally:
            process.terminate()


def _load(process: int, url: str, chain: Path, seconds: float) -> Load:
    before = _cpu(process)
    words = [url.rpartition(":")[2], str(chain), str(seconds), str(CLIENTS), url]
    done = subprocess.run([sys.executable, "-m", "benches.steward_load", *words], check=True, stdout=subprocess.PIPE)
    found = msgspec.json.decode(done.stdout, type=Found)
    number, times = len(found.times), sorted(found.times)
    return Load(
        rate=number / found.seconds,
        median=1000 * statistics.median(times),
        tail=1000 * times[number * 99 // 100],
        steward=1000 * (_cpu(process) - before) / number,
        clients=1000 * found.cpu / number,
    )


def _cpu(process: int) -> float:
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _signatures(seconds: float) -> float:
    """P-256 signatures that one core makes in a second."""
    key, message = ec.generate_private_key(ec.SECP256R1()), b"x" * 500
    begin, done = time.process_time(), 0
    while (spent := time.process_time() - begin) < seconds:
        key.sign(message, ec.ECDSA(SHA256()))
        done += 1
    return done / spent
