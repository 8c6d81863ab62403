"""Send a package to a Keep: the root directory first, then what it lists, as `enarx_keep.package` takes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import PackageError
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Digests, Entry, directory_json, entry_of, media_type
from enarx_keep.channel import encode

if TYPE_CHECKING:
    from enarx_deploy.models import Package, PackageFile

_CHUNK = 1 << 20
_Content = bytes | Path
_Node = tuple[str, int, _Content]


def messages(package: Package) -> Iterator[bytes]:
    """The package as messages, of which the largest has 1 MiB. Raises PackageError if it is not what its digest names.

    A file that was changed since it was read as a part of the package is refused by the Keep, or here if its size is
    another.
    """
    root = Path(package.root)
    nodes, entry = _directory("", root, {file.path: file for file in package.files})
    if entry.sha256 != package.digest:
        raise PackageError(
            f"{root} is damaged: its digest is {entry.sha256}, not {package.digest}",
            hint="package it again: `enarx-deploy package --force`",
        )
    for path, size, content in nodes:
        yield encode({"type": "node", "path": path, "size": size})
        yield from _chunks(content, size) if isinstance(content, Path) else [content]


def mount(host_path: Path, guest_path: str) -> Iterator[bytes]:
    """A copy of a host directory as messages: its folders and regular files; what else is in it is left out."""
    entries = sorted(
        path for path in host_path.rglob("*") if not path.is_symlink() and (path.is_dir() or path.is_file())
    )
    yield encode({"type": "mount", "path": guest_path, "entries": len(entries)})
    for path in entries:
        content = b"" if path.is_dir() else path.read_bytes()
        place = os.fsencode(path.relative_to(host_path)).decode(errors="replace")
        yield encode({"type": "entry", "path": place, "directory": path.is_dir(), "size": len(content)})
        yield content


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        left = size
        while left and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise PackageError(f"{path} was changed while it was read", hint="package it again")


def _directory(path: str, root: Path, files: dict[str, PackageFile]) -> tuple[list[_Node], Entry]:
    """The nodes of a directory, itself first, and its entry."""
    below: list[_Node] = []
    entries: dict[str, Entry] = {}
    for name in sorted({key.partition("/")[0] for key in files}):
        place = f"{path}/{name}" if path else name
        if name in files:
            entries[name] = _entry(root / place, files[name])
            below.append((place, files[name].size, root / place))
        else:
            inside = {key.removeprefix(f"{name}/"): file for key, file in files.items() if key.startswith(f"{name}/")}
            nodes, entries[name] = _directory(place, root, inside)
            below += nodes
    content = directory_json(entries)
    return [(path, len(content), content), *below], entry_of(content, DIRECTORY_TYPE)


def _entry(path: Path, file: PackageFile) -> Entry:
    """The entry that was made when the file was read; a plugin's package may lack it."""
    if file.digests:
        return Entry(file.digests, file.size, file.type)
    digests = Digests()
    for chunk in _chunks(path, file.size):
        digests.update(chunk)
    return digests.entry(media_type(file.path))
