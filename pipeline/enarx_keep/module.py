"""From wasm to native code, and the cache of it.

A compiled module is native code that runs with all that the Keep has, so it is taken only from a directory and file
that nobody but this user can write, and only under a name made of what it was compiled from, by, and for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path

import wasmtime

_CPU_FACTS = ("vendor_id", "cpu family", "model", "flags", "Features")


def engine() -> wasmtime.Engine:
    """The engine: core modules with the features that wasm 2.0 and SIMD ask for, and without shared memory."""
    config = wasmtime.Config()
    config.wasm_threads = False
    config.cranelift_opt_level = "speed"
    return wasmtime.Engine(config)


def load(engine: wasmtime.Engine, wasm: bytes, cache: Path | None) -> wasmtime.Module:
    """The module, compiled now or before. Raises wasmtime.WasmtimeError if it is not valid."""
    if cache is None:
        return wasmtime.Module(engine, wasm)
    place = cache / f"{_key(wasm)}.cwasm"
    if _is_ours(place):
        with contextlib.suppress(wasmtime.WasmtimeError):  # made by another build of wasmtime: made anew
            return wasmtime.Module.deserialize_file(engine, str(place))
    module = wasmtime.Module(engine, wasm)
    _store(place, bytes(module.serialize()))
    return module


def _key(wasm: bytes) -> str:
    facts = f"{version('wasmtime')}\n{os.uname().machine}\n{_cpu()}\n".encode()
    return hashlib.sha256(facts + hashlib.sha256(wasm).digest()).hexdigest()


def _cpu() -> str:
    """What the first processor says of itself; code made for one may not run on another."""
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        return "\n".join(line for line in first.splitlines() if line.partition("\t")[0].strip(" :") in _CPU_FACTS)
    return ""


def _is_ours(place: Path) -> bool:
    for path, is_kind in ((place.parent, stat.S_ISDIR), (place, stat.S_ISREG)):
        try:
            status = path.lstat()
        except OSError:
            return False
        if not is_kind(status.st_mode) or status.st_uid != os.geteuid():
            return False
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True


def _store(place: Path, data: bytes) -> None:
    """Keep for next time, all of it or nothing. A full disk only means that it is compiled again."""
    with contextlib.suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).replace(place)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
