"""The files of a project that a build reads: by suffix and by name, out of sight of what builds leave behind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import BuildError

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_LEFT_BEHIND = {"target": "Cargo.toml", "zig-out": "build.zig", "zig-cache": "build.zig"}  # beside the file that tells
_NEVER = frozenset({"node_modules", "__pycache__"})
_MOST = 20_000
_NODE_KINDS = ("dependencies", "devDependencies")


def named(project: Project, suffixes: Collection[str]) -> Path | None:
    """What `[build] source` names, if it is a folder or has one of the suffixes."""
    source = project.manifest.build.source
    if not source:
        return None
    path = project.root / source
    return path if path.suffix in suffixes or path.is_dir() else None


def files(project: Project, *, suffixes: Collection[str] = (), names: Collection[str] = ()) -> list[Path]:
    """Every file of the project with one of the suffixes or names. Hidden folders, save `.cargo`, are left out."""
    return sorted(path for path in _walk(project.root) if path.suffix in suffixes or path.name in names)


def in_make_form(text: str, root: Path) -> list[Path]:
    """The files inside `root` that a list of dependencies in make's form names, and that are there."""
    words = re.findall(r"(?:\\.|\S)+", text.replace("\\\n", " "))
    paths = [root / re.sub(r"\\(.)", r"\1", word) for word in words if not word.endswith(":")]
    return [path for path in paths if path.is_relative_to(root) and path.is_file()]


def relative(project: Project, paths: Iterable[Path]) -> list[str]:
    """What a tool, and so its messages, call each file: its path in the project."""
    return [str(path.relative_to(project.root) if path.is_relative_to(project.root) else path) for path in paths]


def node_dependencies(project: Project) -> frozenset[str]:
    """The packages that the project's `package.json` names; none where it cannot be read."""
    try:
        described = json.loads((project.root / "package.json").read_text())
        return frozenset(name for kind in _NODE_KINDS for name in described.get(kind, {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return frozenset()


def _walk(root: Path) -> Iterator[Path]:
    seen = 0
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if _is_of_interest(name, names))
        seen += len(names)
        if seen > _MOST:
            raise BuildError(
                f"{root}: more than {_MOST} files, which are too many to look through for sources",
                hint="is it the right directory? Folders whose name begins with a dot are not looked into",
            )
        yield from (Path(folder, name) for name in names)


def _is_of_interest(folder: str, beside: list[str]) -> bool:
    if folder in _NEVER or _LEFT_BEHIND.get(folder) in beside:
        return False
    return not folder.startswith(".") or folder == ".cargo"
