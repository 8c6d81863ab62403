"""Programs that only compute: in a nil Keep, jail and all, and in wasmtime called directly.

Both run on one processor, in pairs of which now one and now the other comes first. A run counts by the least
of its rounds, since everything that disturbs adds to it. The ratio is the median of the pairs', so that no single
one decides.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import wasmtime

from benches.figures import Bound, Ratio, Section
from benches.peers import HERE, PROGRAM
from enarx_deploy import paths

PAIRS = 11
_LOOPS = ("fibonacci", "matrix", "sha256")


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Milliseconds of loops that only compute, and the ratios of the pairs."""
    with _one_processor(), tempfile.TemporaryDirectory(prefix="enarx-bench.") as name:
        folder = Path(name)
        module = folder / "compute.wasm"
        _compile(module)
        code = wasmtime.Module.from_file(engine := wasmtime.Engine(), str(module))
        runs = [_pair(folder, engine, code, keep_first=number % 2 == 0) for number in range(PAIRS)]
    rows, ratios = [], []
    for loop in _LOOPS:
        ours, theirs = ([times[loop] for times in column] for column in zip(*runs, strict=True))
        of_pairs = sorted(our / their for our, their in zip(ours, theirs, strict=True))
        low, median, high = statistics.quantiles(of_pairs)
        rows.append([loop, f"{min(ours):.2f}", f"{min(theirs):.2f}", f"{low:.3f} to {high:.3f}"])
        ratios.append(Ratio(f"{loop}, Keep / wasmtime", median, "less", Bound(1.02, 1.0)))
    return Section("Computing (ms)", ["loop", "nil Keep", "wasmtime", "half of the pairs"], rows, ratios)


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    """This process and what it starts, on the processor that it is allowed last: the first has most interrupts."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


_Pair = tuple[dict[str, float], dict[str, float]]


def _pair(folder: Path, engine: wasmtime.Engine, code: wasmtime.Module, *, keep_first: bool) -> _Pair:
    """A run in the Keep and one directly."""
    if keep_first:
        return _keep(folder), _direct(engine, code, folder)
    theirs = _direct(engine, code, folder)
    return _keep(folder), theirs


def _compile(module: Path) -> None:
    """With zig, in the cache that `enarx-deploy compile` has too, where the C library may lie already."""
    cache = str(paths.cache_dir("zig"))
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    source = HERE / "compute" / "main.c"
    zig: list[str | Path] = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi", "-O2", source]
    subprocess.run([*zig, "-o", module], env=environment, check=True)


def _keep(folder: Path) -> dict[str, float]:
    environment = os.environ | {
        "ENARX_DEPLOY_STATE_DIR": str(folder / "state"),
        "ENARX_DEPLOY_CACHE_DIR": str(folder / "cache"),
    }
    command: list[str | Path] = [PROGRAM, "run", "--backend", "nil", "compute.wasm"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return _times(done.stdout)


def _direct(engine: wasmtime.Engine, code: wasmtime.Module, folder: Path) -> dict[str, float]:
    store, linker, said = wasmtime.Store(engine), wasmtime.Linker(engine), folder / "stdout"
    config = wasmtime.WasiConfig()
    config.stdout_file = str(said)
    store.set_wasi(config)
    linker.define_wasi()
    start = linker.instantiate(store, code).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    with contextlib.suppress(wasmtime.ExitTrap):
        start(store)
    return _times(said.read_text())


def _times(said: str) -> dict[str, float]:
    """Milliseconds by loop, the least of the rounds that a run prints."""
    times: dict[str, float] = {}
    for line in said.splitlines():
        loop, nanoseconds, _ = line.split()
        times[loop] = min(times.get(loop, float("inf")), int(nanoseconds) / 1e6)
    return times
