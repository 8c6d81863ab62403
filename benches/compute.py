"""Programs that only compute: in a nil Keep, jail and all, and in wasmtime called directly."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import wasmtime

from benches.figures import Bound, Ratio, Section
from benches.peers import HERE, PROGRAM
from enarx_deploy import paths

ROUNDS = 5
_LOOPS = ("fibonacci", "matrix", "sha256")


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Milliseconds of each loop: the least of a run, since everything that disturbs adds to it; runs in turn."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name:
        folder = Path(name)
        module = folder / "compute.wasm"
        _compile(module)
        code = wasmtime.Module.from_file(engine := wasmtime.Engine(), str(module))
        runs = [(_keep(folder), _direct(engine, code, folder)) for _ in range(ROUNDS)]
    rows, ratios = [], []
    for loop in _LOOPS:
        ours, theirs = ([times[loop] for times in column] for column in zip(*runs, strict=True))
        rows.append([loop, f"{min(ours):.2f}", f"{min(theirs):.2f}"])
        ratios.append(Ratio(f"{loop}, Keep / wasmtime", min(ours) / min(theirs), "less", Bound(1.02, 1.0)))
    spread = statistics.median(max(times.values()) for times, _ in runs)
    note = f"The longest loop took {spread:.1f} ms in the median of runs in the Keep."
    return Section("Computing (ms)", ["loop", "nil Keep", "wasmtime"], rows, ratios, note)


def _compile(module: Path) -> None:
    """With zig, in the cache that `enarx-deploy compile` has too, where the C library may lie already."""
    cache = str(paths.cache_dir("zig"))
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi", "-O2", HERE / "compute" / "main.c"]
    subprocess.run([*command, "-o", module], env=environment, check=True)


def _keep(folder: Path) -> dict[str, float]:
    environment = os.environ | {
        "ENARX_DEPLOY_STATE_DIR": str(folder / "state"),
        "ENARX_DEPLOY_CACHE_DIR": str(folder / "cache"),
    }
    command = [PROGRAM, "run", "--backend", "nil", "compute.wasm"]
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
