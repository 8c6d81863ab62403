"""Whether a Keep can run a wasm module, and what it imports, exports and starts with.

`inspect` looks at the module's interface in plain Python: importing the engine costs more than the whole check.
`validate` adds the engine's own validation of every instruction; only a module that passed it may be packaged.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from enarx_deploy import wasm_binary
from enarx_deploy.errors import ModuleError, UsageError
from enarx_deploy.models import Import
from enarx_deploy.wasm_binary import DamagedModuleError, Export, Sections

MODULE_LIMIT = 100_000_000
"""Bytes of the largest module that a Keep takes; Enarx's limit."""

WASI_PREVIEW1: dict[str, str] = {
    "args_get": "ii>i",
    "args_sizes_get": "ii>i",
    "clock_res_get": "ii>i",
    "clock_time_get": "iIi>i",
    "environ_get": "ii>i",
    "environ_sizes_get": "ii>i",
    "fd_advise": "iIIi>i",
    "fd_allocate": "iII>i",
    "fd_close": "i>i",
    "fd_datasync": "i>i",
    "fd_fdstat_get": "ii>i",
    "fd_fdstat_set_flags": "ii>i",
    "fd_fdstat_set_rights": "iII>i",
    "fd_filestat_get": "ii>i",
    "fd_filestat_set_size": "iI>i",
    "fd_filestat_set_times": "iIIi>i",
    "fd_pread": "iiiIi>i",
    "fd_prestat_dir_name": "iii>i",
    "fd_prestat_get": "ii>i",
    "fd_pwrite": "iiiIi>i",
    "fd_read": "iiii>i",
    "fd_readdir": "iiiIi>i",
    "fd_renumber": "ii>i",
    "fd_seek": "iIii>i",
    "fd_sync": "i>i",
    "fd_tell": "ii>i",
    "fd_write": "iiii>i",
    "path_create_directory": "iii>i",
    "path_filestat_get": "iiiii>i",
    "path_filestat_set_times": "iiiiIIi>i",
    "path_link": "iiiiiii>i",
    "path_open": "iiiiiIIii>i",
    "path_readlink": "iiiiii>i",
    "path_remove_directory": "iii>i",
    "path_rename": "iiiiii>i",
    "path_symlink": "iiiii>i",
    "path_unlink_file": "iii>i",
    "poll_oneoff": "iiii>i",
    "proc_exit": "i>",
    "proc_raise": "i>i",
    "random_get": "ii>i",
    "sched_yield": ">i",
    "sock_accept": "iii>i",
    "sock_recv": "iiiiii>i",
    "sock_send": "iiiii>i",
    "sock_shutdown": "ii>i",
}
"""Every function of `wasi_snapshot_preview1`: name -> signature, parameters before `>` and results after it.

One letter is one value: `i` i32, `I` i64, `f` f32, `F` f64, `v` v128, `r` a reference.
"""

# What the older snapshot, `wasi_unstable`, lacks; its other functions have the same signatures.
_NOT_UNSTABLE = frozenset({"sock_accept"})

# First match wins. The pattern is matched against `module.name kind`.
_CURES: tuple[tuple[str, str], ...] = (
    (r".* memory$", "a Keep's module brings its own memory: build without --import-memory"),
    (r".* table$", "a Keep's module brings its own table: build without --import-table"),
    (r"wasi_unstable\.", "it is not a function of the older WASI snapshot: build for wasm32-wasip1"),
    (r"wasi\.thread-spawn", "threads are not provided: build without -pthread, for wasm32-wasip1"),
    (r"wasi_snapshot_preview1\.sock_", "preview 1 opens no sockets itself: list them in [[files]] of Enarx.toml"),
    (r"wasi_snapshot_preview1\.", "it is not a function of WASI preview 1: build for wasm32-wasip1"),
    (r"wasi:|wasi_snapshot_preview2", "WASI 0.2 is not supported yet: build for wasm32-wasip1"),
    (r"wasix_", "WASIX is not provided: build for wasm32-wasip1"),
    (r"(go|gojs)\.", "this is Go for a browser: build with GOOS=wasip1 GOARCH=wasm"),
    (r"(__wbindgen|wbg)", "this is Rust for a browser: build a binary for wasm32-wasip1, without wasm-bindgen"),
    (
        r"env\.(_?emscripten|invoke_|__syscall)",
        "this is Emscripten for a browser: build with -sSTANDALONE_WASM",
    ),
    (r"env\.", "it is an undefined symbol of the link: link the library that defines it, and drop --allow-undefined"),
    (r"", "a Keep provides wasi_snapshot_preview1 alone: build for wasm32-wasip1"),
)

_NOT_WASM: tuple[tuple[bytes, str, str], ...] = (
    (b"\x7fELF", "an ELF file", "a native or ahead-of-time compiled program: give the .wasm that it was made from"),
    (b"MZ", "a Windows program", "build for wasm32-wasip1"),
    (b"\xcf\xfa\xed\xfe", "a macOS program", "build for wasm32-wasip1"),
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
    (b"PK\x03\x04", "a zip file", "unpack it first"),
    (b"#!", "a script", "give the .wasm that it starts"),
    (
        b"(module",
        "WebAssembly text",
        "put it into a project as main.wat and run that directory: the `wat` toolchain translates it",
    ),
    (
        b"(component",
        "a WebAssembly component as text",
        "WASI 0.2 components are not supported yet: build a core module",
    ),
    (b"<", "a web page or XML", "was an error page downloaded in its place?"),
)

_WORDS = {"i": "i32", "I": "i64", "f": "f32", "F": "f64", "v": "v128", "r": "reference"}
_ENTRIES: tuple[Literal["", "_start"], ...] = ("", "_start")


class Limits(NamedTuple):
    """Size of a memory in pages of 64 KiB; `maximum` is None where the module sets none."""

    minimum: int
    maximum: int | None


class ModuleFacts(NamedTuple):
    """What a Keep needs to know of a module before it starts it.

    `entry` is the export that is called; `memory` is the one that WASI reads and writes (exported as `memory`), or
    None where the module exports none.
    """

    imports: tuple[Import, ...]
    exports: tuple[Export, ...]
    entry: Literal["", "_start"]
    memory: Limits | None


def inspect(data: bytes, name: str = "the module") -> ModuleFacts:
    """The facts of a module that a Keep can run; `name` is what a message calls it.

    Raises ModuleError: not a core wasm module, damaged, imports that a Keep does not provide, no entry point, or a
    memory that WASI preview 1 cannot address.
    """
    sections = read(data, name)
    _require_provided_imports(sections, name)
    entry = _entry(sections, name)
    return ModuleFacts(
        imports=tuple(imported for imported, _ in sections.imports),
        exports=tuple(exported for exported, _ in sections.exports),
        entry=entry,
        memory=_memory(sections, name),
    )


def load(path: Path) -> bytes:
    """A module's file, as far as a module may be long and one byte more, which tells that it is longer.

    Raises UsageError.
    """
    try:
        with path.open("rb") as file:
            return file.read(MODULE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="name a .wasm file") from error


def read(data: bytes, name: str = "the module") -> Sections:
    """The interface of a core module, whether or not a Keep can run it. Raises ModuleError."""
    _require_core_module(data, name)
    try:
        return wasm_binary.read(data)
    except DamagedModuleError as error:
        raise ModuleError(
            f"{name} is damaged: {error}", hint="rebuild it, or fetch it again: was it cut short?"
        ) from error


def validate(data: bytes, name: str = "the module") -> ModuleFacts:
    """`inspect`, and then the engine's validation of the whole module. Raises ModuleError."""
    facts = inspect(data, name)
    import wasmtime

    try:
        wasmtime.Module.validate(wasmtime.Engine(), data)
    except wasmtime.WasmtimeError as error:
        raise ModuleError(
            f"{name} is not valid WebAssembly: {_in_one_line(str(error))}",
            hint="the file is damaged, or its toolchain uses a proposal that Keeps do not run: rebuild it",
        ) from error
    return facts


def _require_core_module(data: bytes, name: str) -> None:
    if len(data) > MODULE_LIMIT:
        raise ModuleError(
            f"{name} is {len(data):,} bytes, more than the {MODULE_LIMIT:,} that a Keep takes",
            hint="strip it (-s, wasm-opt, wasm-strip), or move its data into [[package.assets]]",
        )
    magic, version = data[:4], data[4:8]
    if magic != b"\0asm":
        looks_like, hint = _looks_like(data)
        raise ModuleError(f"{name} is not WebAssembly but {looks_like}", hint=hint)
    if version == b"\x0d\x00\x01\x00":
        raise ModuleError(
            f"{name} is a WebAssembly component; WASI 0.2 components are not supported yet",
            hint="build a core module for WASI preview 1 (target wasm32-wasip1) instead",
        )
    if version != b"\x01\x00\x00\x00":
        raise ModuleError(
            f"{name} has WebAssembly version {version.hex() or 'missing'}, not 1", hint="rebuild it: is it cut short?"
        )


def _looks_like(data: bytes) -> tuple[str, str]:
    if not data:
        return "an empty file", "did the build that wrote it fail?"
    head = data[:512].lstrip()
    for prefix, looks_like, hint in _NOT_WASM:
        if head.startswith(prefix):
            return looks_like, hint
    if all(byte >= 0x20 or byte in b"\t\n\f\r" for byte in head):
        return "text", "give the module that its toolchain builds from it"
    return "something unknown", "give a module that a toolchain built for wasm32-wasip1"


def _require_provided_imports(sections: Sections, name: str) -> None:
    missing = [imported for imported, _ in sections.imports if not provided(imported)]
    if missing:
        raise ModuleError(
            f"{name} imports what a Keep does not provide: {_listed([_shown(i) for i in missing])}",
            hint=_cure(missing[0]),
        )
    for imported, signature in sections.imports:
        expected = WASI_PREVIEW1[imported.name]
        if signature != expected:
            raise ModuleError(
                f"{name} imports {_shown(imported)} as {_spelled(signature)}; "
                f"WASI preview 1 has it as {_spelled(expected)}",
                hint="the declaration in its source is wrong, or its toolchain is for another WASI: rebuild it",
            )


def provided(imported: Import) -> bool:
    """Whether a Keep has something of that name; its signature is another question."""
    if imported.kind != "func" or imported.name not in WASI_PREVIEW1:
        return False
    return imported.module == "wasi_snapshot_preview1" or (
        imported.module == "wasi_unstable" and imported.name not in _NOT_UNSTABLE
    )


def _cure(imported: Import) -> str:
    line = f"{imported.module}.{imported.name} {imported.kind}"
    return next(cure for pattern, cure in _CURES if re.match(pattern, line, re.DOTALL))


def _entry(sections: Sections, name: str) -> Literal["", "_start"]:
    exported = {export.name: index for export, index in sections.exports if export.kind == "func"}
    for entry in _ENTRIES:
        if entry in exported:
            _require_no_parameters(sections, exported[entry], entry, name)
            return entry
    if "_initialize" in exported:
        raise ModuleError(
            f"{name} is a reactor: it exports `_initialize`, and no `_start` that a Keep could call",
            hint="build a command: drop -mexec-model=reactor or -buildmode=c-shared; in Rust build a bin, not a cdylib",
        )
    raise ModuleError(
        f'{name} exports no entry point: neither a function "" nor `_start`',
        hint='give it a main function and drop --no-entry; in WAT write (func (export "_start") ...)',
    )


def _require_no_parameters(sections: Sections, index: int, entry: str, name: str) -> None:
    if index >= len(sections.functions):
        raise ModuleError(f"{name} is damaged: the export {entry!r} names no function", hint="rebuild it")
    signature = sections.functions[index]
    if not signature.startswith(">"):
        raise ModuleError(
            f"{name} exports {entry!r} as {_spelled(signature)}; an entry point takes nothing",
            hint="read arguments with args_get, or let the toolchain's start-up code do it",
        )


def _memory(sections: Sections, name: str) -> Limits | None:
    indices = [index for export, index in sections.exports if export == Export("memory", "memory")]
    if not indices:
        if sections.imports:
            raise ModuleError(
                f"{name} exports no memory named `memory`, which WASI's functions read and write",
                hint='in WAT write (memory (export "memory") 1); with a linker drop --no-export-memory',
            )
        return None
    if indices[0] >= len(sections.memories):
        raise ModuleError(f"{name} is damaged: the export `memory` names no memory", hint="rebuild it")
    memory = sections.memories[indices[0]]
    if memory.wide:
        raise ModuleError(
            f"{name} has a 64-bit memory, and WASI preview 1 is 32-bit", hint="build for wasm32, not wasm64"
        )
    if memory.shared:
        raise ModuleError(
            f"{name} has a shared memory, and threads are not provided",
            hint="build without -pthread, for wasm32-wasip1 and not wasm32-wasip1-threads",
        )
    return Limits(memory.minimum, memory.maximum)


def _spelled(signature: str) -> str:
    parameters, _, results = signature.partition(">")
    return " -> ".join(f"({', '.join(_WORDS[letter] for letter in part)})" for part in (parameters, results))


def _listed(names: list[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _shown(imported: Import) -> str:
    kind = "" if imported.kind == "func" else f" ({imported.kind})"
    return printable(f"{imported.module}.{imported.name}") + kind


def printable(text: str, most: int = 120) -> str:
    """A name out of a module may hold anything, a terminal's control sequences too."""
    text = text if len(text) <= most else f"{text[:most]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _in_one_line(text: str) -> str:
    return printable("; ".join(line.strip() for line in text.splitlines() if line.strip()), most=300)
