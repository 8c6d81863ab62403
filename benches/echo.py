"""An echo service in a nil Keep, against the same program natively; by TLS against that program behind nginx."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path

from benches import peers
from benches.figures import Bound, Ratio, Section

ROUNDS = 3
LOADS = ((1, 64), (64, 64), (1, 65536), (16, 65536))
"""Connections, and bytes of each message."""
_BOUNDS = {("tcp", 64): Bound(0.5, 0.8), ("tcp", 65536): Bound(0.6, 0.9)}
_TLS_BOUND = Bound(0.9, 1.2)
_HANDSHAKES_BOUND = Bound(0.7, 1.0)


def measure_tcp(seconds: float) -> Section:
    """Requests and bytes per second, in clear."""
    with _folder() as folder, peers.native_echo(folder) as native, peers.keep(folder, "tcp") as keep:
        ports = {"nil Keep": keep.port, "native C": native}
        return _compare("TCP echo", ports, "tcp", LOADS, seconds)


def measure_tls(seconds: float) -> Section:
    """Requests and bytes per second by TLS 1.3, and full handshakes per second."""
    with (
        _folder() as folder,
        peers.native_echo(folder) as native,
        peers.nginx_tls(folder, native, *peers.self_signed(folder)) as nginx,
        peers.keep(folder, "tls") as keep,
    ):
        ports = {"nil Keep": keep.port}
        if nginx is not None:
            ports["native C behind nginx"] = nginx
        section = _compare("TLS echo", ports, "tls", LOADS, seconds)
        hands = _compare("handshakes", ports, "handshakes", ((8, 64),), seconds)
        note = "Last row: a new connection for each message. AES-256-GCM, X25519, P-256 certificates on both sides."
        if nginx is None:
            note += " nginx is not installed here, so there is nothing to hold this against."
        rows = [*section.rows, *hands.rows]
        return Section("TLS echo", section.header, rows, [*section.ratios, *hands.ratios], note)


def _compare(
    title: str, ports: dict[str, int], mode: str, loads: tuple[tuple[int, int], ...], seconds: float
) -> Section:
    load = peers.build_load()
    rows, ratios = [], []
    for connections, size in loads:
        rates: dict[str, list[float]] = {name: [] for name in ports}
        tails: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(ROUNDS):
            for name, port in ports.items():
                rate, _, tail = load_on(load, port, connections, size, seconds, mode)
                rates[name].append(rate)
                tails[name].append(tail)
        what = f"{connections} x {size:,} B" + (" with handshake" if mode == "handshakes" else "")
        for name in ports:
            rate, tail = statistics.median(rates[name]), statistics.median(tails[name])
            rows.append([what, name, f"{rate:,.0f}", f"{rate * size / 1e6:,.1f}", f"{tail:,.0f}"])
        ours, *others = rates
        for other in others:
            pairs = [one / two for one, two in zip(rates[ours], rates[other], strict=True)]
            name = f"{title} {what}, requests/s, {ours} / {other}"
            ratios.append(Ratio(name, statistics.median(pairs), "more", _bound(mode, size)))
    return Section(title, ["load", "served by", "requests/s", "MB/s", "p99 µs"], rows, ratios)


def _bound(mode: str, size: int) -> Bound:
    if mode == "handshakes":
        return _HANDSHAKES_BOUND
    return _TLS_BOUND if mode == "tls" else _BOUNDS[mode, size]


def load_on(load: Path, port: int, connections: int, size: int, seconds: float, mode: str) -> tuple[float, ...]:
    words = [str(load), str(port), str(connections), str(size), str(seconds), mode]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60 + 4 * seconds)
    return tuple(float(word) for word in done.stdout.split())


def _folder() -> _Folder:
    return _Folder(prefix="enarx-bench.")


class _Folder(tempfile.TemporaryDirectory[str]):
    def __enter__(self) -> Path:  # type: ignore[override]
        return Path(super().__enter__())
