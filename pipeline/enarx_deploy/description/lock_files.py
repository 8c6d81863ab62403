"""What a project is built with besides its own sources, as far as a lock file says so.

| file              | of          | a dependency's digest                                |
|-------------------|-------------|------------------------------------------------------|
| Cargo.lock        | cargo       | SHA-256 of the crate                                 |
| go.mod and go.sum | Go          | `h1`: SHA-256 of a listing of the module's files     |
| package-lock.json | npm 7 on    | as npm's `integrity` says, mostly SHA-512            |

They are looked for in the project and in the folder of `[build] source`. A file of one of these names that cannot be
read is an error: a list with a gap that nobody sees would be worse than none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from enarx_deploy.errors import PackageError

if TYPE_CHECKING:
    from enarx_deploy.project import Project

MAX_FILE = 32 << 20
MAX_DEPENDENCIES = 20_000

_REQUIRE = re.compile(r"(?:require\s+)?([^\s()]+)\s+(v[^\s()]+)(?:\s*//.*)?")
_SUM = re.compile(r"(\S+) (v\S+) h1:([A-Za-z0-9+/]{43}=)")
_INTEGRITY = re.compile(r"(sha256|sha384|sha512)-([A-Za-z0-9+/]+={0,2})")


class Dependency(msgspec.Struct, frozen=True, order=True):
    """One thing that a lock file names: `kind` is the type of its package URL, `hashes` hexadecimal by algorithm."""

    kind: str
    name: str
    version: str
    hashes: dict[str, str] = {}
    go_sum: str = ""


class LockFile(msgspec.Struct, frozen=True):
    """A lock file that was read: its path below the project, its digest, and what it names."""

    path: str
    sha256: str
    dependencies: list[Dependency]


def locked(project: Project) -> list[LockFile]:
    """What the project's lock files say, each dependency once in each. Raises PackageError."""
    return [read(project.root, path) for path in _places(project)]


def _places(project: Project) -> list[Path]:
    source = project.manifest.build.source
    folders = [project.root, *([project.root / source] if source and ".." not in Path(source).parts else [])]
    return sorted({folder / name for folder in folders for name in _READERS if (folder / name).is_file()})


def read(root: Path, path: Path) -> LockFile:
    """What one lock file of a project says. Raises PackageError."""
    shown = str(path.relative_to(root))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE:,} bytes")
        found = {(one.name, one.version): one for one in _READERS[path.name](data, path)}
        if len(found) > MAX_DEPENDENCIES:
            raise ValueError(f"it names more than {MAX_DEPENDENCIES:,} dependencies")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(
            f"{shown}: cannot be read to describe the package: {error}",
            hint="is the lock file whole? the tool that wrote it can write it anew",
        ) from error
    return LockFile(shown, hashlib.sha256(data).hexdigest(), [found[key] for key in sorted(found)])


def _cargo(data: bytes, _path: Path) -> Iterator[Dependency]:
    for package in tomllib.loads(data.decode()).get("package", []):
        if "source" in package:  # the others are the project's own
            hashes = {"sha256": _hexadecimal(package["checksum"])} if "checksum" in package else {}
            yield Dependency("cargo", _text(package["name"]), _text(package["version"]), hashes)


def _go(data: bytes, path: Path) -> Iterator[Dependency]:
    sums = _go_sums(path.with_name("go.sum"))
    within = False
    for line in data.decode().splitlines():
        words = line.strip()
        if words.startswith("require (") or (within and words == ")"):
            within = words != ")"
            continue
        found = _REQUIRE.fullmatch(words) if within or words.startswith("require ") else None
        if found is not None:
            yield Dependency("golang", found[1], found[2], go_sum=sums.get((found[1], found[2]), ""))


def _go_sums(path: Path) -> dict[tuple[str, str], str]:
    if not path.is_file() or path.stat().st_size > MAX_FILE:
        return {}
    found = (_SUM.fullmatch(line) for line in path.read_text().splitlines())
    return {(one[1], one[2]): one[3] for one in found if one is not None}


def _npm(data: bytes, _path: Path) -> Iterator[Dependency]:
    lock = json.loads(data)
    if "packages" not in lock:
        raise ValueError("it is of npm 6 or before: npm 7 or later writes it anew")
    for place, entry in lock["packages"].items():
        name = entry.get("name") or place.rpartition("node_modules/")[2]
        if "node_modules/" in place and not entry.get("link") and "version" in entry:
            yield Dependency("npm", _text(name), _text(entry["version"]), dict(_integrity(entry)))


def _integrity(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for word in str(entry.get("integrity", "")).split():
        if found := _INTEGRITY.fullmatch(word):
            yield found[1], base64.b64decode(found[2], validate=True).hex()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 512 or not value.isprintable():
        raise ValueError(f"{value!a:.80} is not a name or a version")
    return value


def _hexadecimal(value: Any) -> str:
    return bytes.fromhex(_text(value)).hex()


_READERS: dict[str, Callable[[bytes, Path], Iterator[Dependency]]] = {
    "Cargo.lock": _cargo,
    "go.mod": _go,
    "package-lock.json": _npm,
}
