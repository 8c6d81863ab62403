"""From wasm to native code, and the cache of it.

A compiled module is native code that runs with all that the Keep has, so it is taken only from a directory and file
that nobody but this user can write, and only under a name made of what it was compiled from, by, and for.

The file is opened before anything hostile is read, since a Keep in its jail can open nothing; what was kept is read
then, and what is compiled is written to the same descriptor.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import wasmtime
from wasmtime import _ffi

from enarx_sallyport import installed_wasmtime

_CPU_FACTS = ("vendor_id", "cpu family", "model", "flags", "Features")
_SMALLEST = bytes.fromhex("0061736d01000000 010401600000 03020100 0a040102000b")
"""A module of one function that does nothing."""
_DIGEST = 32
_MOST_STACK = 2 << 20
_X86_64_V2 = (b"has_sse3", b"has_ssse3", b"has_sse41", b"has_sse42", b"has_popcnt", b"has_cmpxchg16b")
"""Of the x86-64 psABI's level 2, what the compiler has a use for."""


class Kept(NamedTuple):
    """A place of the cache: its descriptor, the module that it is for, and the code that was found there."""

    descriptor: int
    sha256: str
    code: bytearray


def engine(*, deadline: bool = False, parallel: bool = True) -> wasmtime.Engine:
    """The engine: core modules with the features that wasm 2.0 and SIMD ask for, and without shared memory.

    With a deadline, code looks at the engine's epoch in each loop and at each call.
    """
    return _engine(deadline, parallel)


def engine_for_others(*, deadline: bool) -> wasmtime.Engine:
    """The same, whose code runs on any processor with x86-64-v2's extensions, and not on this one alone.

    It is for machines whose processor this one cannot look at: emulated ones have fewer extensions than their host.
    """
    return wasmtime.Engine(_config_for_others(deadline))


@functools.cache
def engine_for_enclaves(*, deadline: bool) -> wasmtime.Engine:
    """The same, whose code looks at each bound itself: an enclave does not tell its program which page was missed.

    It reserves no memory either, since all that an enclave has is there from the start.
    """
    config = _config_for_others(deadline)
    config.parallel_compilation = False
    _ffi.dll.wasmtime_config_signals_based_traps_set(config.ptr(), False)
    for reserve in ("memory_reservation", "memory_reservation_for_growth", "memory_guard_size"):
        getattr(_ffi.dll, f"wasmtime_config_{reserve}_set")(config.ptr(), 0)
    return wasmtime.Engine(config)


def _config_for_others(deadline: bool) -> wasmtime.Config:
    config = _config(deadline)
    config.target = "x86_64-unknown-linux-gnu"
    for extension in _X86_64_V2:
        _ffi.dll.wasmtime_config_cranelift_flag_enable(config.ptr(), extension)
    return config


@functools.cache
def _engine(deadline: bool, parallel: bool) -> wasmtime.Engine:
    config = _config(deadline)
    config.parallel_compilation = parallel
    return wasmtime.Engine(config)


def _config(deadline: bool) -> wasmtime.Config:
    config = wasmtime.Config()
    config.epoch_interruption = deadline
    config.wasm_threads = False
    config.cranelift_opt_level = "speed"
    config.max_wasm_stack = _stack_limit()
    # A memory's first content would be a file of memory to map; a Keep in its jail can make none.
    _ffi.dll.wasmtime_config_memory_init_cow_set(config.ptr(), False)
    return config


@functools.cache  # asked for once, before the jail, in which a Keep may not ask
def _stack_limit() -> int:
    """Bytes of the stack that a workload's calls may take: at most half of this thread's. A deeper call is a trap.

    The rest is for what it calls of ours. Programs in Go nest deeper than the 512 KiB that wasmtime gives by itself.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _MOST_STACK if limit == resource.RLIM_INFINITY else min(limit // 2, _MOST_STACK)


def warm_up(kept: Kept | None) -> None:
    """Have the compiler start its threads, which it cannot in the jail, unless there is code already."""
    if kept is None or not kept.code:
        wasmtime.Module(engine(), _SMALLEST)


def find(cache: Path, sha256: str) -> Kept | None:
    """The place for the module with this digest (hex); None where there is none that is ours alone to write."""
    place = cache / f"{_key(platform(), sha256)}.cwasm"
    try:
        if not _is_ours(cache.lstat(), stat.S_ISDIR):
            return None
        descriptor = _open(place)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        digest = file.read(_DIGEST)
        code = bytearray(max(0, os.fstat(descriptor).st_size - _DIGEST))
        file.readinto(code)
    return Kept(descriptor, sha256, _checked(code, digest))


def load(
    wasm: bytes,
    sha256: str,
    kept: Kept | None,
    *,
    deadline: bool = False,
    packaged: bytes = b"",
    enclave: bool = False,
) -> tuple[wasmtime.Engine, wasmtime.Module]:
    """The module, compiled now or before, and its engine. Raises wasmtime.WasmtimeError if it is not valid.

    `sha256` (hex) is what `wasm` was found to have when it was received. `packaged` is code of it that came in the
    package, or was measured with this Keep, and that it trusts; in an enclave it is for its engine.
    """
    mine = engine_for_enclaves(deadline=deadline) if enclave else engine(deadline=deadline)
    if packaged:
        with contextlib.suppress(wasmtime.WasmtimeError):  # made by another wasmtime, or without the deadline
            return mine, _deserialize(mine, bytearray(packaged))
    is_promised = kept is not None and sha256 == kept.sha256
    if kept is not None and kept.code:
        if is_promised:
            with contextlib.suppress(wasmtime.WasmtimeError):  # made by another wasmtime, or without the deadline
                return mine, _deserialize(mine, kept.code)
        mine = engine(deadline=deadline, parallel=False)  # the compiler's threads were not started
    module = wasmtime.Module(mine, wasm)
    if kept is not None and is_promised:
        _store(kept.descriptor, bytes(module.serialize()))
    return mine, module


def _deserialize(engine: wasmtime.Engine, code: bytearray) -> wasmtime.Module:
    """As `wasmtime.Module.deserialize`, which copies `code` once more. Raises wasmtime.WasmtimeError."""
    found = ctypes.POINTER(_ffi.wasmtime_module_t)()
    content = (ctypes.c_uint8 * len(code)).from_buffer(code)
    fault = _ffi.wasmtime_module_deserialize(engine.ptr(), content, len(code), ctypes.byref(found))
    if fault:
        raise wasmtime.WasmtimeError._from_ptr(fault)
    return wasmtime.Module._from_ptr(found)


def platform() -> bytes:
    """What compiled code depends on beside the module: this wasmtime and this processor."""
    return f"{installed_wasmtime()}\n{os.uname().machine}\n{_cpu()}\n".encode()


def code_name(on: bytes, sha256: str) -> str:
    """The name of the code of a module, by its digest (hex), for a platform: for people, and exact."""
    wasmtime_version, machine, *_ = on.decode().split("\n")
    return f"wasmtime-{wasmtime_version}-{machine}-{_key(on, sha256)}.cwasm"


def _key(on: bytes, sha256: str) -> str:
    return hashlib.sha256(on + bytes.fromhex(sha256)).hexdigest()


def _cpu() -> str:
    """What the first processor says of itself; code made for one may not run on another."""
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        return "\n".join(line for line in first.splitlines() if line.partition("\t")[0].strip(" :") in _CPU_FACTS)
    return ""


def _open(place: Path) -> int:
    """A descriptor of the file, which is made if it is not there or is not one that we alone can write."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        descriptor = os.open(place, flags)
        if _is_ours(os.fstat(descriptor), stat.S_ISREG):
            return descriptor
        os.close(descriptor)
    place.unlink(missing_ok=True)
    return os.open(place, flags | os.O_CREAT | os.O_EXCL, 0o600)


def _is_ours(status: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    others_can_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_kind(status.st_mode) and status.st_uid == os.geteuid() and not others_can_write


def _checked(code: bytearray, digest: bytes) -> bytearray:
    """The code that was found, if it is whole: its digest stands before it, since another Keep may be writing it."""
    return code if hashlib.sha256(code).digest() == digest else bytearray()


def _store(descriptor: int, code: bytes) -> None:
    """Keep for next time. What is cut short is not whole; a full disk only means that it is compiled again."""
    rest = memoryview(hashlib.sha256(code).digest() + code)
    place = 0
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        while rest:
            written = os.pwrite(descriptor, rest, place)
            rest, place = rest[written:], place + written
