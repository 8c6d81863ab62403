"""What one WASI call costs: the sallyport's native functions, wasmtime's own, and a Python callback."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import wasmtime

from benches.figures import Bound, Ratio, Section
from enarx_sallyport import Guest, Host, link

CALLS = 2_000_000
PYTHON_CALLS = 20_000
ROUNDS = 5

_PROGRAM = """(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\10\\00\\00\\00")
  (func (export "clock_time_get") (param $n i32)
    (loop $again
      (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 64)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "fd_write") (param $n i32)
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"""

_FUNCTIONS = ("clock_time_get", "fd_write")

Maker = Callable[[wasmtime.Engine, wasmtime.Store], wasmtime.Linker]


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Nanoseconds per WASI call: median of rounds in turn, so that a slow moment hits all alike."""
    sallyport = _Sallyport()
    subjects: dict[str, Maker] = {
        "sallyport": sallyport.linker,
        "wasmtime's own WASI": _wasmtime,
        "Python callback": _python,
    }
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for subject, maker in subjects.items():
            for function in _FUNCTIONS:
                count = PYTHON_CALLS if maker is _python else CALLS
                times.setdefault((subject, function), []).append(_time(maker, function, count))
    sallyport.close()
    median = {key: statistics.median(values) for key, values in times.items()}
    rows = [[subject, *(f"{median[subject, function]:,.0f}" for function in _FUNCTIONS)] for subject in subjects]
    bounds = {"wasmtime's own WASI": Bound(1.5, 1.0), "Python callback": None}
    ratios = [
        Ratio(
            f"{function}, sallyport / {other}", median["sallyport", function] / median[other, function], "less", bound
        )
        for function in _FUNCTIONS
        for other, bound in bounds.items()
    ]
    note = "fd_write writes 16 bytes: to a stream whose other end is /dev/null, to /dev/null itself, and nowhere."
    return Section("One WASI call (ns)", ["served by", *_FUNCTIONS], rows, ratios, note)


def _time(maker: Maker, function: str, count: int) -> float:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    linker = maker(engine, store)
    instance = linker.instantiate(store, wasmtime.Module(engine, _PROGRAM))
    entry = instance.exports(store)[function]
    assert isinstance(entry, wasmtime.Func)
    entry(store, 1)
    began = time.perf_counter_ns()
    entry(store, count)
    return (time.perf_counter_ns() - began) / count


class _Sallyport:
    """Both halves in this process: workloads whose standard output goes to /dev/null."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDWR)
        self._hosts: list[Host] = []

    def linker(self, engine: wasmtime.Engine, _: wasmtime.Store) -> wasmtime.Linker:
        host = Host(files=2, connections=0, ring_bytes=65536)
        host.attach_source(0, self._null)
        host.attach_sink(1, self._null)
        host.start()
        self._hosts.append(host)
        guest = Guest(os.dup(host.block_fd), os.dup(host.doorbell_fd))
        guest.add_stdio(terminal=False)
        guest.add_stdio(terminal=False)
        linker = wasmtime.Linker(engine)
        link(guest, linker)
        return linker

    def close(self) -> None:
        for host in self._hosts:
            host.finish(0.0)
        os.close(self._null)


def _wasmtime(engine: wasmtime.Engine, store: wasmtime.Store) -> wasmtime.Linker:
    config = wasmtime.WasiConfig()
    config.stdout_file = os.devnull
    store.set_wasi(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    return linker


def _python(engine: wasmtime.Engine, _: wasmtime.Store) -> wasmtime.Linker:
    i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
    linker = wasmtime.Linker(engine)
    module = "wasi_snapshot_preview1"
    linker.define_func(module, "clock_time_get", wasmtime.FuncType([i32, i64, i32], [i32]), lambda *_: 0)
    linker.define_func(module, "fd_write", wasmtime.FuncType([i32] * 4, [i32]), lambda *_: 0)
    return linker
