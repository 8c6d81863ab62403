"""The digest of a tool's own bytes, so that another program of the same version is not taken for it.

    from PyPI   the program, and every file of its distribution as RECORD has it (its digest when it was installed)
    from npm    every file of its package
    any other   the program, and what its toolchain names beside it

Names in the digest are relative to what was looked at, so that it is the same on another machine with the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from enarx_deploy import records, tools
from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import Tool

FILES_LIMIT = 20_000
"""Most files of a tool that are looked at."""
_RECORD_LIMIT = 64 << 20  # bytes
_SITES = ("site-packages", "dist-packages")
_MODULES = "node_modules"


class _Part(NamedTuple):
    """A file of a tool: a name, and where it is or what digest of it is recorded."""

    name: str
    path: Path | None = None
    recorded: str = ""


def digest(*used: Tool) -> str:
    """The digest of these tools, or "" where nothing was started that has bytes of its own. Raises BuildError.

    It is kept for as long as no file that it depends on is written to or replaced, as far as their status tells.
    """
    paths = [path for tool in used for path in _paths(tool)]
    if not paths:
        return ""
    states = [tools.state(file) for path in paths for file in _depends_on(path)]
    key = hashlib.sha256(msgspec.json.encode(["tool_bytes", states])).hexdigest()
    return tools.remembered(key, lambda: _digest(paths))


def _digest(paths: Sequence[Path]) -> str:
    found = {part for path in paths for part in _parts(path)}
    parts = sorted(found, key=lambda part: (part.name, part.recorded, str(part.path)))
    try:
        listed = [(part.name, records.digest_of_file(part.path) if part.path else part.recorded) for part in parts]
    except OSError as error:
        raise BuildError(f"{error.filename}: {error.strerror}", hint="the digest of a tool needs all of it") from error
    return records.digest_of(msgspec.json.encode(listed))


def _paths(tool: Tool) -> Iterator[Path]:
    for word in (*tool.command, *tool.files):
        path = Path(word)
        if path.is_absolute() and path.exists():
            yield path.resolve()


def _depends_on(path: Path) -> Iterator[Path]:
    """The files that decide on the parts of a path, found without reading any."""
    tree = path if path.is_dir() else _npm_package(path)
    if tree:
        yield from (part.path for part in _tree(tree, "") if part.path)
        return
    yield path
    yield from _records(path)


def _parts(path: Path) -> Iterator[_Part]:
    if path.is_dir():
        yield from _tree(path, path.name)
        return
    if package := _npm_package(path):
        yield from _tree(package, f"npm:{package.name}")
        return
    yield _Part(path.name, path)
    yield from _distribution(path)


def _tree(root: Path, shown: str) -> Iterator[_Part]:
    """Every regular file below a folder; what a link leads to is not of this tool."""
    count = 0
    for folder, below, names in os.walk(root):
        below.sort()
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield _Part(f"{shown}/{path.relative_to(root).as_posix()}", path)
                count += 1
        if count > FILES_LIMIT:
            raise BuildError(f"{root} has over {FILES_LIMIT:,} files", hint="is this the folder of a tool?")


def _npm_package(path: Path) -> Path | None:
    """The package of npm that a file is in: NODE_MODULES/NAME or NODE_MODULES/@SCOPE/NAME."""
    for parent in path.parents:
        above = parent.parent.parent if parent.parent.name.startswith("@") else parent.parent
        if above.name == _MODULES:
            return parent
    return None


def _records(path: Path) -> list[Path]:
    """What each distribution in the site of a file has recorded of its files."""
    site = _site(path)
    return sorted(site.glob("*.dist-info/RECORD")) if site else []


def _site(path: Path) -> Path | None:
    return next((parent for parent in path.parents if parent.name in _SITES), None)


def _distribution(path: Path) -> Iterator[_Part]:
    """What the distribution that a file was installed with has recorded of its files (PEP 376)."""
    site = _site(path)
    wanted = path.relative_to(site).as_posix() if site else ""
    for record in _records(path):
        text = record.read_text("utf-8", "replace") if record.stat().st_size <= _RECORD_LIMIT else ""
        if wanted not in text:
            continue
        rows = list(csv.reader(text.splitlines()))
        if any(row and row[0] == wanted for row in rows):
            yield from _recorded(rows, f"pypi:{record.parent.name.removesuffix('.dist-info')}")


def _recorded(rows: Sequence[Sequence[str]], shown: str) -> Iterator[_Part]:
    """Without what the installer made: metadata, scripts outside of the site, compiled Python."""
    for name, recorded in (row[:2] for row in rows if len(row) > 1):
        algorithm, _, value = recorded.partition("=")
        made_here = name.startswith("..") or ".dist-info/" in name or name.endswith(".pyc")
        if algorithm == "sha256" and not made_here:
            yield _Part(f"{shown}/{name}", recorded=f"sha256:{_hex(value)}")


def _hex(encoded: str) -> str:
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    except (binascii.Error, ValueError):
        return ""
