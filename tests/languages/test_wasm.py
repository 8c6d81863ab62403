"""What `wasm.inspect` and `wasm.validate` say of modules, good and bad."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_deploy import wasm, wasm_binary
from enarx_deploy.errors import ModuleError
from enarx_deploy.wasm import Limits

HEADER = b"\0asm\x01\0\0\0"
PREVIEW1 = "wasi_snapshot_preview1"
KINDS = {
    wasmtime.FuncType: "func",
    wasmtime.MemoryType: "memory",
    wasmtime.TableType: "table",
    wasmtime.GlobalType: "global",
}
LETTERS = {"i32": "i", "i64": "I", "f32": "f", "f64": "F", "v128": "v"}


def wat(fields: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {fields})"))


def command(fields: str = "", memory: str = '(memory (export "memory") 1)') -> bytes:
    """A module that a Keep can run but for what `fields` and `memory` add; imports come first."""
    return wat(f'{fields} {memory} (func (export "_start"))')


def leb(value: int) -> bytes:
    parts = []
    while True:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def refusal(data: bytes) -> ModuleError:
    with pytest.raises(ModuleError) as caught:
        wasm.validate(data)
    error = caught.value
    assert str(error).isprintable()
    assert error.hint
    assert error.exit_status == 2
    return error


def test_the_table_has_the_functions_that_wasmtime_has_with_their_signatures() -> None:
    linker = wasmtime.Linker(wasmtime.Engine())
    linker.define_wasi()
    store = wasmtime.Store(linker.engine)
    assert len(wasm.WASI_PREVIEW1) == 46
    for name, signature in wasm.WASI_PREVIEW1.items():
        function = linker.get(store, PREVIEW1, name)
        assert isinstance(function, wasmtime.Func)
        assert signature == spelled(function.type(store)), name


def spelled(function: wasmtime.FuncType) -> str:
    return ">".join(
        "".join(LETTERS.get(str(value), "r") for value in values) for values in (function.params, function.results)
    )


def test_a_command_is_accepted_with_its_facts() -> None:
    data = command(f'(import "{PREVIEW1}" "sched_yield" (func (result i32)))', '(memory (export "memory") 2 17)')
    facts = wasm.validate(data)
    assert facts.entry == "_start"
    assert facts.memory == Limits(2, 17)
    assert [(imported.module, imported.name, imported.kind) for imported in facts.imports] == [
        (PREVIEW1, "sched_yield", "func")
    ]
    assert [(exported.name, exported.kind) for exported in facts.exports] == [("memory", "memory"), ("_start", "func")]


def test_the_export_without_a_name_goes_before_start() -> None:
    assert wasm.validate(wat('(func (export "_start")) (func (export ""))')).entry == ""
    assert wasm.validate(wat('(func (export "_start")) (memory (export "") 1)')).entry == "_start"


def test_what_an_entry_point_returns_does_not_matter() -> None:
    assert wasm.validate(wat('(func (export "") (result i32 i64) i32.const 1 i64.const 2)')).memory is None


@pytest.mark.parametrize(("module", "without"), [(PREVIEW1, set()), ("wasi_unstable", {"sock_accept"})])
def test_every_function_of_both_snapshots_may_be_imported(module: str, without: set[str]) -> None:
    words = {letter: word for word, letter in LETTERS.items()}
    fields = ""
    names = wasm.WASI_PREVIEW1.keys() - without
    for name in names:
        parameters, _, results = wasm.WASI_PREVIEW1[name].partition(">")
        typed = " ".join(
            f"({part} {' '.join(words[letter] for letter in letters)})"
            for part, letters in (("param", parameters), ("result", results))
            if letters
        )
        fields += f'(import "{module}" "{name}" (func {typed}))'
    assert {imported.name for imported in wasm.validate(command(fields)).imports} == names


def test_a_function_may_be_imported_twice() -> None:  # Go does
    fields = f'(import "{PREVIEW1}" "sched_yield" (func (result i32)))'
    assert len(wasm.validate(command(fields * 2)).imports) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not WebAssembly but an empty file"),
        (b"\x7fELF\x02\x01\x01", "is not WebAssembly but an ELF file"),
        (b"MZ\x90\0", "is not WebAssembly but a Windows program"),
        (b"\x1f\x8b\x08\0", "is not WebAssembly but a gzip file"),
        (b"PK\x03\x04", "is not WebAssembly but a zip file"),
        (b"#!/bin/sh\n", "is not WebAssembly but a script"),
        (b"\n  (module)", "is not WebAssembly but WebAssembly text"),
        (b"<!DOCTYPE html>", "is not WebAssembly but a web page or XML"),
        (b"int main;\n", "is not WebAssembly but text"),
        (b"\x01\x02\x03", "is not WebAssembly but something unknown"),
        (b"\0asm", "has WebAssembly version missing, not 1"),
        (b"\0asm\x02\0\0\0", "has WebAssembly version 02000000, not 1"),
        (wasmtime.wat2wasm("(component)"), "is a WebAssembly component; WASI 0.2 components are not supported yet"),
    ],
)
def test_what_is_no_core_module_is_refused_by_what_it_looks_like(data: bytes, message: str) -> None:
    assert str(refusal(bytes(data))) == f"the module {message}"


def test_a_module_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm, "MODULE_LIMIT", 8)
    assert "is 9 bytes, more than the 8 that a Keep takes" in str(refusal(HEADER + b"\0"))


@pytest.mark.parametrize(
    ("fields", "named", "hint"),
    [
        ('(import "env" "memory" (memory 1))', "env.memory (memory)", "without --import-memory"),
        ('(import "env" "table" (table 1 funcref))', "env.table (table)", "without --import-table"),
        ('(import "env" "counter" (global i32))', "env.counter (global)", "undefined symbol"),
        ('(import "env" "compress2" (func))', "env.compress2", "link the library that defines it"),
        ('(import "env" "emscripten_memcpy_js" (func))', "env.emscripten_memcpy_js", "-sSTANDALONE_WASM"),
        ('(import "wasi_unstable" "sock_accept" (func))', "wasi_unstable.sock_accept", "older WASI snapshot"),
        ('(import "wasi" "thread-spawn" (func))', "wasi.thread-spawn", "without -pthread"),
        ('(import "wasi:cli/environment@0.2.0" "get" (func))', "wasi:cli/environment@0.2.0.get", "WASI 0.2"),
        (f'(import "{PREVIEW1}" "sock_open" (func))', f"{PREVIEW1}.sock_open", "list them in [[files]]"),
        (f'(import "{PREVIEW1}" "fd_fly" (func))', f"{PREVIEW1}.fd_fly", "not a function of WASI preview 1"),
        ('(import "gojs" "runtime.wasmExit" (func))', "gojs.runtime.wasmExit", "GOOS=wasip1"),
        ('(import "wasix_32v1" "fd_dup" (func))', "wasix_32v1.fd_dup", "WASIX is not provided"),
        ('(import "wbg" "alert" (func))', "wbg.alert", "without wasm-bindgen"),
        ('(import "a" "b" (func))', "a.b", "wasi_snapshot_preview1 alone"),
        (r'(import "\1b[2J" "\00" (func))', r"\x1b[2J.\x00", "wasi_snapshot_preview1 alone"),
    ],
)
def test_imports_that_a_keep_does_not_provide_are_named_with_a_cure(fields: str, named: str, hint: str) -> None:
    error = refusal(command(fields, ""))
    assert str(error) == f"the module imports what a Keep does not provide: {named}"
    assert hint in error.hint


def test_all_missing_imports_are_named() -> None:
    fields = "".join(f'(import "env" "f{number}" (func))' for number in range(22))
    message = str(refusal(command(fields)))
    assert all(f"env.f{number}," in message for number in range(19))
    assert message.endswith("env.f19 and 2 more")


def test_an_import_with_another_signature_is_refused_with_both() -> None:
    error = refusal(command(f'(import "{PREVIEW1}" "fd_close" (func (param i64 f32) (result i32 externref)))'))
    assert str(error) == (
        f"the module imports {PREVIEW1}.fd_close as (i64, f32) -> (i32, reference); "
        "WASI preview 1 has it as (i32) -> (i32)"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wat('(func (export "_initialize"))'), "is a reactor: it exports `_initialize`"),
        (wat('(func (export "main"))'), "exports no entry point"),
        (wat('(memory (export "") 1)'), "exports no entry point"),
        (wat('(memory (export "_start") 1)'), "exports no entry point"),
        (wat('(func (export "_start") (param i32))'), "exports '_start' as (i32) -> (); an entry point takes nothing"),
        (command("", '(memory (export "memory") i64 1)'), "has a 64-bit memory, and WASI preview 1 is 32-bit"),
        (command("", '(memory (export "memory") 1 2 shared)'), "has a shared memory, and threads are not provided"),
        (
            command(f'(import "{PREVIEW1}" "sched_yield" (func (result i32)))', '(memory (export "mem") 1)'),
            "exports no memory named `memory`",
        ),
    ],
)
def test_modules_that_no_keep_could_start_are_refused(data: bytes, message: str) -> None:
    assert message in str(refusal(data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x01", "cut short at byte 9"),
        (b"\x01\x05\x01", "cut short at byte 10"),
        (b"\x01\xff\xff\xff\xff\xff\x01", "number too long"),
        (b"\x01\xff\xff\xff\xff\x7f", "number out of range"),
        (section(1, leb(200_000)), "type section: 200,000 entries, more than 100,000"),
        (section(1, b"\x00") * 2, "there are two type sections"),
        (section(1, b"\x00\x00"), "type section: longer than its content"),
        (section(1, b"\x01\x33"), "type section: unknown type 0x33"),
        (section(1, b"\x01\x60\x01\x11\x00"), "type section: unknown value type 0x11"),
        (section(2, b"\x01\x01\xff\x01a\x00\x00"), "import section: name before byte 13 is not UTF-8"),
        (section(2, b"\x01\x01a\x01b\x09"), "import section: unknown kind 0x09"),
        (section(2, b"\x01\x01a\x01b\x00\x07"), "type 7 is not the type of a function"),
        (section(5, b"\x01\x10\x01"), "memory section: unknown limits 0x10"),
        (section(7, b"\x01\x06_start\x00\x05"), "the export '_start' names no function"),
        (section(1, b"\x01\x60\x00\x00") + section(3, b"\x01\x00") + section(7, b"\x02\x00\x00\x00\x06memory\x02\x00"),
         "the export `memory` names no memory"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_place(content: bytes, message: str) -> None:
    assert f"is damaged: {message}" in str(refusal(HEADER + content))


def test_a_body_that_does_not_type_check_is_found_by_the_engine() -> None:
    data = wat('(func (export "_start") i32.const 1)')
    assert wasm.inspect(data).entry == "_start"
    assert "is not valid WebAssembly" in str(refusal(data))


def test_types_of_newer_proposals_are_passed_over() -> None:
    data = wat(
        """
        (rec (type $node (sub (struct (field i8) (field (mut (ref null $node)))))) (type $list (array (mut i16))))
        (type $leaf (sub final $node (struct (field i8) (field (mut (ref null $node))) (field f64))))
        (func (export "_start") (result v128 (ref null func)) v128.const i32x4 0 0 0 0 ref.null func)
        """
    )
    assert wasm_binary.read(data).functions == [">vr"]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_module_error(data: bytes) -> None:
    for candidate in (data, HEADER + data):
        with contextlib.suppress(ModuleError):
            wasm.inspect(candidate)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_is_a_module_error_and_the_engine_agrees(data: st.DataObject) -> None:
    module = bytearray(
        command(
            f"""(import "{PREVIEW1}" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (rec (type (sub (struct (field i8)))) (type (array (mut i16)))) (table (export "t") 1 funcref)"""
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        module[data.draw(st.integers(8, len(module) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(module[: data.draw(st.integers(8, len(module)))])
    facts, refused = inspected(cut)
    try:
        compiled = wasmtime.Module(wasmtime.Engine(), cut)
    except wasmtime.WasmtimeError:
        return
    assert "is damaged" not in refused
    if facts:
        agree(facts, compiled)


def inspected(data: bytes) -> tuple[wasm.ModuleFacts | None, str]:
    try:
        return wasm.inspect(data), ""
    except ModuleError as error:
        return None, str(error)


def agree(facts: wasm.ModuleFacts, module: wasmtime.Module) -> None:
    imports = [(imported.module, imported.name, KINDS[type(imported.type)]) for imported in module.imports]
    assert [(imported.module, imported.name, imported.kind) for imported in facts.imports] == imports
    exports = [(exported.name, KINDS[type(exported.type)]) for exported in module.exports]
    assert [(exported.name, exported.kind) for exported in facts.exports] == exports
    for exported in module.exports:
        if exported.name == "memory" and isinstance(exported.type, wasmtime.MemoryType):
            assert facts.memory == Limits(exported.type.limits.min, exported.type.limits.max)
        if exported.name == facts.entry:
            assert isinstance(exported.type, wasmtime.FuncType)


@pytest.mark.parametrize("name", ["echo", "listen", "zerooneone", "memory_stress_test", "hello_wasi_snapshot1"])
def test_the_engine_agrees_on_what_compilers_make(program: Callable[[str], Path], name: str) -> None:
    data = program(name).read_bytes()
    agree(wasm.validate(data), wasmtime.Module(wasmtime.Engine(), data))
