"""The cache of compiled modules holds native code: it is used only where nobody else can have put it."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from enarx_keep import module

WASM = wasmtime.wat2wasm('(module (func (export "_start") (result i32) i32.const 1))')
OTHER = wasmtime.wat2wasm('(module (func (export "_start") (result i32) i32.const 2))')


def answer(engine: wasmtime.Engine, code: wasmtime.Module) -> int:
    store = wasmtime.Store(engine)
    return wasmtime.Instance(store, code, []).exports(store)["_start"](store)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def poisoned(cache: Path) -> Path:
    """The cache, in which the place of WASM holds what OTHER was compiled to: that it is used shows in the answer."""
    load(cache)
    (place,) = cache.glob("*.cwasm")
    code = bytes(wasmtime.Module(module.engine(), OTHER).serialize())
    place.write_bytes(hashlib.sha256(code).digest() + code)
    return place


def load(cache: Path, wasm: bytes = WASM, *, promised: bytes = WASM) -> int:
    """What the module answers, in a Keep that was told to expect the module `promised`."""
    kept = module.find(cache, hashlib.sha256(promised).hexdigest())
    try:
        return answer(*module.load(wasm, hashlib.sha256(wasm).hexdigest(), kept))
    finally:
        if kept is not None:
            os.close(kept.descriptor)


def test_what_was_compiled_is_taken_from_the_cache(cache: Path, poisoned: Path) -> None:
    assert load(cache) == 2


def test_another_module_than_was_promised_is_compiled_and_not_kept(cache: Path, poisoned: Path) -> None:
    before = poisoned.read_bytes()
    assert load(cache, OTHER, promised=WASM) == 2
    assert load(cache, WASM, promised=OTHER) == 1
    assert poisoned.read_bytes() == before


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_not_used(cache: Path, poisoned: Path, mode: int) -> None:
    poisoned.chmod(mode)
    assert load(cache) == 1
    assert poisoned.stat().st_mode & 0o777 == 0o600  # it was replaced by one of ours
    assert load(cache) == 1


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_directory_that_others_can_write_to_is_not_used(cache: Path, poisoned: Path, mode: int) -> None:
    cache.chmod(mode)
    assert load(cache) == 1


def test_a_link_is_not_followed(cache: Path, poisoned: Path, tmp_path: Path) -> None:
    poisoned.rename(tmp_path / "elsewhere")
    poisoned.symlink_to(tmp_path / "elsewhere")
    assert load(cache) == 1


def test_what_is_no_file_is_not_waited_for(cache: Path, poisoned: Path) -> None:
    poisoned.unlink()
    os.mkfifo(poisoned)
    assert load(cache) == 1


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x7fELF" + bytes(100)])
def test_what_is_damaged_is_compiled_again(cache: Path, poisoned: Path, damage: bytes) -> None:
    poisoned.write_bytes(damage)
    assert load(cache) == 1
    assert poisoned.read_bytes() != damage


def test_a_cut_file_is_compiled_again(cache: Path, poisoned: Path) -> None:
    poisoned.write_bytes(poisoned.read_bytes()[:1000])
    assert load(cache) == 1


@pytest.mark.parametrize("deadline", [False, True])
def test_code_made_for_other_processors_runs_on_this_one(deadline: bool) -> None:
    code = wasmtime.Module(module.engine_for_others(deadline=deadline), OTHER).serialize()
    digest = hashlib.sha256(WASM).hexdigest()
    engine, found = module.load(WASM, digest, None, deadline=deadline, packaged=bytes(code))
    store = wasmtime.Store(engine)
    if deadline:
        store.set_epoch_deadline(1)
    assert wasmtime.Instance(store, found, []).exports(store)["_start"](store) == 2, "it was compiled again"


def test_without_a_cache_and_with_one_that_is_missing(tmp_path: Path) -> None:
    assert answer(*module.load(WASM, "", None)) == 1
    assert load(tmp_path / "missing") == 1
    assert not (tmp_path / "missing").exists()


def test_nothing_else_is_left_in_the_cache(cache: Path) -> None:
    load(cache)
    assert [path.suffix for path in cache.iterdir()] == [".cwasm"]


def test_a_module_that_is_none_leaves_no_code(cache: Path) -> None:
    with pytest.raises(wasmtime.WasmtimeError):
        load(cache, b"\0asm", promised=b"\0asm")
    assert [path.stat().st_size for path in cache.iterdir()] == [0]


NESTED = """(module (func $down (export "down") (param i32) (result i32)
  (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
    (else (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1))))))))"""
CALLS = 40_000
DOWN = f"""
import wasmtime
from enarx_keep import module
store = wasmtime.Store(module.engine())
code = wasmtime.Module(module.engine(), wasmtime.wat2wasm('''{NESTED}'''))
down = wasmtime.Instance(store, code, []).exports(store)["down"]
"""


def test_calls_nest_deeper_than_wasmtimes_own_limit_lets_them() -> None:
    store = wasmtime.Store()
    code = wasmtime.Module(store.engine, wasmtime.wat2wasm(NESTED))
    with pytest.raises(wasmtime.Trap, match="call stack exhausted"):
        wasmtime.Instance(store, code, []).exports(store)["down"](store, CALLS)
    ended = subprocess.run([sys.executable, "-c", f"{DOWN}print(down(store, {CALLS}))"], capture_output=True, text=True)
    assert ended.stdout == f"{CALLS}\n", ended.stderr


@pytest.mark.parametrize("kib", [512, 1024, 8192])
def test_calls_without_end_are_a_trap_however_small_the_stack_is(kib: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"{DOWN}down(store, -1)"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (kib << 10, kib << 10)),
    )
    assert (ended.returncode, "call stack exhausted" in ended.stderr) == (1, True), ended.stderr
