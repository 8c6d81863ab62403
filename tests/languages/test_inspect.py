"""What `enarx-deploy inspect` says of modules, good, foreign and damaged."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_deploy import wasm, wasm_binary
from enarx_deploy.errors import ModuleError
from enarx_deploy.wasm_report import ABILITIES, OTHER, report

PREVIEW1 = "wasi_snapshot_preview1"
NAMED = f"""(module
  (import "{PREVIEW1}" "sched_yield" (func (result i32)))
  (memory (export "memory") 2 17)
  (func $start (export "_start"))
  (func $the_big_one (drop (i32.const 5)) (drop (i32.const 6))))"""


def leb(value: int) -> bytes:
    low, value = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + leb(value) if value else bytes([low])


def text(word: str) -> bytes:
    return leb(len(word.encode())) + word.encode()


def custom(name: str, content: bytes) -> bytes:
    return b"\0" + leb(len(text(name) + content)) + text(name) + content


def named(*customs: bytes) -> bytes:
    return bytes(wasmtime.wat2wasm(NAMED)) + b"".join(customs)


def test_each_function_of_preview_1_lets_a_module_do_one_thing() -> None:
    listed = [name for _, names in ABILITIES for name in names]
    assert sorted(listed) == sorted(wasm.WASI_PREVIEW1)


def test_the_largest_functions_have_their_names_and_indices() -> None:
    found = report(named(), largest=2)
    assert found.functions == 2
    assert [(one.index, one.name) for one in found.largest] == [(2, "the_big_one"), (1, "start")]
    assert found.largest[0].size > found.largest[1].size
    assert not found.stripped
    assert (found.runs_in_a_keep, found.entry, found.memories[0].maximum) == (True, "_start", 17)


def test_what_made_a_module_and_for_which_features() -> None:
    producers = leb(1) + text("processed-by") + leb(1) + text("clang") + text("22.1")
    features = leb(2) + b"+" + text("bulk-memory") + b"-" + text("simd128")
    found = report(named(custom("producers", producers), custom("target_features", features)))
    assert [(one.field, one.name, one.version) for one in found.producers] == [("processed-by", "clang", "22.1")]
    assert found.target_features == ["+bulk-memory", "-simd128"]


@pytest.mark.parametrize("name", ["producers", "target_features", "name"])
def test_a_damaged_custom_section_is_told_and_the_rest_is_read(name: str) -> None:
    data = bytes(wasmtime.wat2wasm('(module (func $f (export "_start")))')).partition(b"\x04name")[0][:-2]
    found = report(data + custom(name, b"\x01\x7f"))
    assert found.runs_in_a_keep
    assert found.faults[0].startswith(f"custom section '{name}': ")


def test_a_module_of_many_functions_costs_no_more_than_its_limit() -> None:
    head = b"\0asm\x01\0\0\0" + b"\x01\x04\x01\x60\0\0"
    code = leb(wasm_binary.FUNCTION_LIMIT + 1)
    with pytest.raises(ModuleError, match="1,000,001 entries, more than 1,000,000"):
        report(head + b"\x0a" + leb(len(code)) + code)


def test_imports_of_another_world_are_shown_with_what_to_do() -> None:
    found = report(bytes(wasmtime.wat2wasm('(module (import "env" "emscripten_run" (func)) (func (export "_start")))')))
    assert not found.runs_in_a_keep
    assert "env.emscripten_run" in found.problem
    assert "STANDALONE_WASM" in found.hint
    assert [(one.lets_it, one.imports) for one in found.imports] == [(OTHER, ["env.emscripten_run"])]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_raises_nothing_but_a_module_error(data: st.DataObject) -> None:
    module = bytearray(named(custom("producers", leb(1) + text("sdk") + leb(1) + text("a") + text("b"))))
    for _ in range(data.draw(st.integers(1, 4))):
        module[data.draw(st.integers(0, len(module) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(module[: data.draw(st.integers(0, len(module)))])
    with contextlib.suppress(ModuleError):
        found = report(cut)
        assert sum(section.size for section in found.sections) < found.size


def test_the_sizes_are_those_of_a_compilers_module(program) -> None:
    data = program("listen").read_bytes()
    found = report(data)
    sizes = {section.name: section.size for section in found.sections}
    assert max(sizes, key=sizes.__getitem__) == "code"
    assert 0.9 * len(data) < sum(sizes.values()) < len(data)
    assert found.stripped
    assert sum(one.size for one in report(data, largest=1000).largest) < sizes["code"]


def test_the_command_shows_tables(enarx_deploy, program) -> None:
    shown = enarx_deploy("inspect", str(program("listen")), "--functions", "3").stdout
    assert 'a Keep can run it; it starts with the export "_start"' in shown
    assert "SECTION" in shown
    assert "accept connections on `listen` sockets\n      sock_accept\n" in shown
    assert "stripped: no names" in shown


def test_the_command_answers_in_json(enarx_deploy, program) -> None:
    answer = json.loads(enarx_deploy("inspect", str(program("listen")), "--json").stdout)
    assert answer["runs_in_a_keep"] is True
    assert {"code", "data", "import"} <= {section["name"] for section in answer["sections"]}
    assert len(answer["largest"]) == 10


def test_without_a_file_it_is_the_module_last_compiled(enarx_deploy) -> None:
    missing = enarx_deploy("inspect")
    assert missing.returncode == 2
    assert "`enarx-deploy compile` makes it" in missing.stderr
    (enarx_deploy.directory / "main.wat").write_text(NAMED)
    assert enarx_deploy("compile").returncode == 0
    assert ".enarx/main.wasm: " in enarx_deploy("inspect").stdout


def test_names_cannot_steer_the_terminal(enarx_deploy, tmp_path: Path) -> None:
    module = tmp_path / "hostile.wasm"
    module.write_bytes(bytes(wasmtime.wat2wasm(r'(module (func (export "_start")) (func (export "\1b[2J")))')))
    shown = enarx_deploy("inspect", str(module)).stdout
    assert "\x1b" not in shown
    assert r"func \x1b[2J" in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x7fELF", "not WebAssembly but an ELF file"), (b"\0asm\x01\0\0\0\x01\x05\x01", "is damaged: cut short")],
)
def test_what_is_no_module_is_refused(enarx_deploy, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "not.wasm").write_bytes(content)
    ended = enarx_deploy("inspect", str(tmp_path / "not.wasm"))
    assert ended.returncode == 2
    assert message in ended.stderr
