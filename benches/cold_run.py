"""How long `enarx-deploy run` of hello world takes, cold, and where the time goes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import wasmtime

from benches.figures import Bound, Ratio, Section
from benches.peers import PROGRAM

ROUNDS = 10
_HELLO = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\0e\\00\\00\\00Hello, world!\\n")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))))"""

_FUNCTIONS = 1800
"""Of about 1.2 KB each."""

_PHASES = {
    "interpreter": "host: interpreter, first imports; Keep: interpreter",
    "launch": "host: other imports, package, while the Keep imports",
    "imports": "Keep: other imports",
    "jail": "Keep: jail",
    "package": "Keep: package taken and checked",
    "module": "Keep: module compiled, or from the cache",
    "identity": "Keep: identity",
    "first byte": "workload: first byte",
    "end": "both: the end",
}
_TLS = """
files = [{ kind = "stdin" }, { kind = "stdout" }, { kind = "listen", name = "x", prot = "tls", port = 0 }]
"""


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Milliseconds of `run` by phase: compiled, from the cache, and from the cache with a certificate."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name:
        folder = Path(name)
        (folder / "hello.wasm").write_bytes(wasmtime.wat2wasm(_HELLO))
        (folder / "large.wasm").write_bytes(_large())
        (folder / "tls.toml").write_text(_TLS)
        columns = {
            "compiled": [_run(folder, fresh=number) for number in range(ROUNDS + 1)][1:],
            "cached": [_run(folder) for _ in range(ROUNDS + 1)][1:],
            "cached, with TLS": [_run(folder, "--manifest", "tls.toml") for _ in range(ROUNDS + 1)][1:],
        }
        pairs = [(_run(folder), _run(folder, module="large.wasm")) for _ in range(ROUNDS + 1)][1:]
        columns["cached, 2 MiB"] = [large for _, large in pairs]
        python = statistics.median(_python(folder) for _ in range(ROUNDS))
    medians = {
        name: {phase: statistics.median(run.get(phase, 0.0) for run in runs) for phase in _PHASES}
        for name, runs in columns.items()
    }
    rows = [[text, *(f"{medians[name][phase]:.1f}" for name in columns)] for phase, text in _PHASES.items()]
    rows.append(["all", *(f"{sum(medians[name].values()):.1f}" for name in columns)])
    # The least of each, since everything that disturbs a run adds to it, and more than is looked for.
    slower = min(sum(large.values()) for _, large in pairs) - min(sum(hello.values()) for hello, _ in pairs)
    to_first_byte = sum(medians["cached"].values()) - medians["cached"]["end"]
    return Section(
        "Cold `run` of hello world (ms)",
        ["phase", *columns],
        rows,
        [
            Ratio("cold run to first byte, cached / python -c pass", to_first_byte / python, "less"),
            Ratio(
                "cold run whole, cached / python -c pass",
                sum(medians["cached"].values()) / python,
                "less",
                Bound(12.0, 6.0),
            ),
            Ratio("run of a 2 MiB module, cached, less that of hello world (ms)", slower, "less", Bound(20.0, 20.0)),
        ],
        f"`python -c pass` takes {python:.1f} ms here.",
    )


def _environment(folder: Path) -> dict[str, str]:
    """Ours, with Python's bytecode kept in `folder`: what is installed has it, whatever the caller wants of sources."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    places = {"ENARX_DEPLOY_STATE_DIR": str(folder / "state"), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    return kept | places


def _python(folder: Path) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], env=_environment(folder), check=True)
    return (time.monotonic() - began) * 1e3


def _large() -> bytes:
    """Hello world with functions beside it that make it 2 MiB long, none of which an optimiser can fold."""
    step = "i64.const {0} i64.mul i64.const {1} i64.xor "
    functions = []
    for number in range(_FUNCTIONS):
        steps = "".join(step.format(2**62 + number * 997 + at * 2 + 1, 2**61 + number + at) for at in range(50))
        functions.append(f"(func (param i64) (result i64) local.get 0 {steps})")
    return bytes(wasmtime.wat2wasm(f"{_HELLO[:-1]}{''.join(functions)})"))


def _run(folder: Path, *words: str, fresh: int | None = None, module: str = "hello.wasm") -> dict[str, float]:
    """Milliseconds of each phase of one run. The clocks of all processes are one."""
    environment = _environment(folder) | {"ENARX_DEPLOY_CACHE_DIR": str(folder / f"cache-{fresh}")}
    began = time.monotonic()
    command: list[str | Path] = [PROGRAM, "run", "--json", "--backend", "nil", *words, module]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.read(1)
    first_byte = time.monotonic()
    _, said = process.communicate()
    moments = json.loads(said)["phases"] | {"first byte": first_byte, "end": time.monotonic()}
    phases, last = {}, began
    for phase, moment in sorted(moments.items(), key=lambda item: item[1]):
        phases[phase] = (moment - last) * 1e3
        last = moment
    return phases
