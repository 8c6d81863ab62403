"""A source language of one statement: the text of `main.say` is what the module prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import Tool

if TYPE_CHECKING:
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import MissingTool, Progress

SOURCE = "main.say"
LIMIT = 60_000  # bytes: the text and its descriptor fit into the module's one page
_TEXT_AT = 16  # in the module's memory; before it lie the descriptor of the text and the count of bytes written


class Say:
    """Turns `main.say` into a module that prints it. Needs no tool."""

    name = "say"

    def detect(self, project: Project) -> str | None:
        return f"{SOURCE} is here" if (project.root / SOURCE).is_file() else None

    def find(self) -> Tool | MissingTool:
        return Tool(command=(), version="say 1")

    def inputs(self, project: Project) -> Sequence[Path]:
        return [project.root / SOURCE]

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        text = (project.root / SOURCE).read_bytes()
        if len(text) > LIMIT:
            raise BuildError(f"{SOURCE} has {len(text)} bytes", hint=f"say at most {LIMIT} bytes")
        progress(f"{tool.version}: {len(text)} bytes of text")
        output.write_bytes(module_that_prints(text))


def module_that_prints(text: bytes) -> bytes:
    """A core wasm module whose `_start` writes `text` to file descriptor 1."""
    i32 = b"\x7f"
    types = _vector([b"\x60" + _vector([i32] * 4) + _vector([i32]), b"\x60\x00\x00"])
    imports = _vector([_name("wasi_snapshot_preview1") + _name("fd_write") + b"\x00\x00"])
    exports = _vector([_name("memory") + b"\x02\x00", _name("_start") + b"\x00\x01"])
    arguments = b"".join(b"\x41" + _signed(value) for value in (1, 0, 1, 8))
    body = b"\x00" + arguments + b"\x10\x00\x1a\x0b"  # no locals; call fd_write, drop its answer, end
    descriptor = _TEXT_AT.to_bytes(4, "little") + len(text).to_bytes(4, "little")
    data = [b"\x00\x41" + _signed(at) + b"\x0b" + _sized(what) for at, what in ((0, descriptor), (_TEXT_AT, text))]
    sections = {1: types, 2: imports, 3: _vector([b"\x01"]), 5: _vector([b"\x00\x01"]), 7: exports}
    sections |= {10: _vector([_sized(body)]), 11: _vector(data)}
    return b"\x00asm\x01\x00\x00\x00" + b"".join(bytes([number]) + _sized(what) for number, what in sections.items())


def _vector(items: Sequence[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _name(text: str) -> bytes:
    return _sized(text.encode())


def _unsigned(value: int) -> bytes:
    """LEB128 (WebAssembly core specification, section 5.2.2)."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _signed(value: int) -> bytes:
    """Signed LEB128 of a number that is not negative: the highest bit that is written must be zero."""
    encoded = bytearray()
    while value > 0x3F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
