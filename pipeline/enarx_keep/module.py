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
from collections.abc import Callable
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
    kept = _read(place)
    if kept is not None:
        with contextlib.suppress(wasmtime.WasmtimeError):  # made by another build of wasmtime: made anew
            return wasmtime.Module.deserialize(engine, kept)
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


def _read(place: Path) -> bytes | None:
    """What is kept there, if the directory and the file are ours alone to write; what was looked at is what is read.

    It is copied: a mapped file would stay open in the Keep, and could be changed under it.
    """
    try:
        if not _is_ours(place.parent.lstat(), stat.S_ISDIR):
            return None
        with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read() if _is_ours(os.fstat(file.fileno()), stat.S_ISREG) else None
    except OSError:
        return None


def _is_ours(status: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    others_can_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_kind(status.st_mode) and status.st_uid == os.geteuid() and not others_can_write


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
