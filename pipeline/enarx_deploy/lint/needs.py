"""What a module can use: by its imports, and by constants in its data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enarx_deploy import wasm
from enarx_deploy.wasm_binary import DamagedModuleError, split

_DATA = 11
_PAGE = 1 << 16
_MOST = 1000  # constants of a kind that are told
_DESTINATION = re.compile(
    rb"/?net/con/((?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4})?"
)
_PATH = re.compile(rb"(?:/[A-Za-z0-9_.-]{1,255}){1,32}")


@dataclass(frozen=True)
class Needs:
    """What a module can use.

    `functions` are those of preview 1 that it imports. `destinations` are names in /net/con that stand in its data, and
    `composes` says that the folder's name stands there without one. `memory` is what it has at the start, in bytes.
    `data` is its data section.
    """

    functions: frozenset[str]
    destinations: tuple[str, ...]
    composes: bool
    memory: int
    data: bytes

    def uses(self, *functions: str) -> bool:
        """Whether any of these is imported."""
        return not self.functions.isdisjoint(functions)

    def mentions(self, word: str) -> bool:
        """Whether this stands in the module's data, as part of whatever."""
        return word.encode() in self.data

    def files(self, root: Path) -> Iterator[str]:
        """The files below `root` whose absolute guest path, as if `root` were `/`, stands in the data; each relative.

        Constants of some languages follow one another without an end between them, so that a name may be longer in the
        data than it is.
        """
        known = tuple(f"/{path.name}".encode() for path in root.iterdir() if not path.name.startswith("."))
        constants = {match[0] for match in _PATH.finditer(self.data) if match[0].startswith(known)}
        found = {self._file(root, path.decode()) for path in sorted(constants)[:_MOST]}
        yield from sorted(name for name in found if name)

    def _file(self, root: Path, constant: str) -> str:
        """The file that a constant names, relative to `root`, or nothing."""
        parts = constant.strip("/").split("/")
        if ".." in parts or any(part.startswith(".") for part in parts):
            return ""
        *folders, last = parts
        try:
            return "/".join([*folders, _named(root.joinpath(*folders), last)])
        except (OSError, LookupError):  # a name that no file system takes, or nothing of that name
            return ""


def _named(folder: Path, name: str) -> str:
    """The file in a folder that a name in the data means: itself, else the longest that it begins with. Raises
    LookupError, OSError."""
    if (folder / name).is_file():
        return name
    longer = [path.name for path in folder.iterdir() if path.suffix and name.startswith(path.name) and path.is_file()]
    if not longer:
        raise LookupError(name)
    return max(longer, key=len)


def needs(data: bytes, name: str = "the module") -> Needs:
    """Read a module that a Keep can run. Raises ModuleError."""
    facts = wasm.inspect(data, name)
    content = _content(data)
    matches = {match[1] for match in _DESTINATION.finditer(content)}
    return Needs(
        functions=frozenset(imported.name for imported in facts.imports),
        destinations=tuple(sorted(match.decode() for match in matches if match)[:_MOST]),
        composes=None in matches,
        memory=(facts.memory.minimum if facts.memory else 0) * _PAGE,
        data=content,
    )


def _content(data: bytes) -> bytes:
    """The data section as it stands, its segments' heads between their contents."""
    try:
        return b"".join(reader.take(reader.left) for number, reader in split(data) if number == _DATA)
    except DamagedModuleError:  # `inspect` has read every section's frame: this cannot be
        return b""
