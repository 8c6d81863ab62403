"""Programs that conformance tests run in Keeps: each does one thing, and needs no compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from enarx_deploy.manifest import Manifest, parse
from enarx_deploy.models import Module, Package
from enarx_deploy.package_tree import build
from enarx_deploy.project import Project
from enarx_deploy.records import digest_of

Name = Literal["greet", "trap", "wait"]

GREETING = b"hello from the Keep\n"
STATUS = 7
"""What `greet` exits with."""

_RESOURCES = b'[resources]\nmemory = "1 MiB"\nfilesystem = "1 MiB"\n\n'
"""What they take: for some Keeps all of it is there from the start."""
_MANIFEST = _RESOURCES + b"".join(b'[[files]]\nkind = "%s"\n' % kind for kind in (b"stdin", b"stdout", b"stderr"))
_GREET = f"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\{len(GREETING):02x}\\00\\00\\00")
  (data (i32.const 16) "{GREETING.decode()[:-1]}\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const {STATUS}))))"""
_TEXTS: dict[Name, str] = {
    "greet": _GREET,
    "trap": '(module (memory (export "memory") 1) (func (export "_start") unreachable))',
    "wait": '(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))',
}


def packaged(name: Name, folder: Path) -> tuple[Package, Manifest]:
    """A package of one of the programs, made below `folder`, and its manifest."""
    from wasmtime import wat2wasm

    data = bytes(wat2wasm(_TEXTS[name]))
    wasm = folder / f"{name}.wasm"
    wasm.write_bytes(data)
    module = Module(
        path=str(wasm), sha256=digest_of(data), size=len(data), entry="_start", imports=[], toolchain="", version=""
    )
    manifest = parse(_MANIFEST, "Enarx.toml").manifest
    return build(Project(folder, manifest, None, _MANIFEST), module), manifest
