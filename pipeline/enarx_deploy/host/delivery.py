"""Send a package to a Keep: the root directory first, then what it lists, as `enarx_keep.package` takes it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import PackageError
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Entry, directory_json, entry_of, media_type
from enarx_keep.channel import encode

if TYPE_CHECKING:
    from enarx_deploy.models import Package, PackageFile

_Node = tuple[str, bytes]
_File = tuple[bytes, Entry]


def messages(package: Package) -> Iterator[bytes]:
    """The package as messages. Raises PackageError if its tree is not what its digest names."""
    root = Path(package.root)
    files = {file.path: _file(file, (root / file.path).read_bytes()) for file in package.files}
    nodes, entry = _directory("", files)
    if entry.sha256 != package.digest:
        raise PackageError(
            f"{root} is damaged: its digest is {entry.sha256}, not {package.digest}",
            hint="package it again: `enarx-deploy package --force`",
        )
    for path, content in nodes:
        yield encode({"type": "node", "path": path, "size": len(content)})
        yield content


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


def _file(file: PackageFile, content: bytes) -> _File:
    """A file's content and its entry: the one that was made before if it is still the same file."""
    same = file.digests and f"sha256:{hashlib.sha256(content).hexdigest()}" == file.sha256
    return content, Entry(file.digests, file.size, file.type) if same else entry_of(content, media_type(file.path))


def _directory(path: str, files: dict[str, _File]) -> tuple[list[_Node], Entry]:
    """The nodes of a directory, itself first, and its entry."""
    below: list[_Node] = []
    entries: dict[str, Entry] = {}
    for name in sorted({key.partition("/")[0] for key in files}):
        place = f"{path}/{name}" if path else name
        if name in files:
            content, entries[name] = files[name]
            below.append((place, content))
        else:
            inside = {key.removeprefix(f"{name}/"): file for key, file in files.items() if key.startswith(f"{name}/")}
            nodes, entries[name] = _directory(place, inside)
            below += nodes
    content = directory_json(entries)
    return [(path, content), *below], entry_of(content, DIRECTORY_TYPE)
