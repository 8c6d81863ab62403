"""The project templates that come with the program: one folder each, copied as it is."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from enarx_deploy.errors import UsageError

DEFAULT = "echo"

_README = "README.md"
_RENAMED = {"gitignore": ".gitignore"}  # under its own name the file would speak of the template


@dataclass(frozen=True)
class Template:
    """A template: its folder, and what its README says of it in the first paragraph."""

    name: str
    description: str
    folder: Traversable


def templates() -> dict[str, Template]:
    """All templates, by name."""
    folders = [item for item in resources.files("enarx_deploy.templates").iterdir() if item.joinpath(_README).is_file()]
    return {folder.name: _template(folder) for folder in sorted(folders, key=lambda folder: folder.name)}


def create(template: Template, directory: Path) -> list[str]:
    """Copy a template to a directory that is new or empty; returns the files, relative to it.

    Nothing appears before all of it is written. Raises UsageError.
    """
    _require_empty(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    new = directory.with_name(f".{directory.name}.new-{secrets.token_hex(8)}")
    try:
        files = sorted(_copy(template.folder, new))
        _move(new, directory)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return files


def _template(folder: Traversable) -> Template:
    paragraphs = folder.joinpath(_README).read_text(encoding="utf-8").split("\n\n")
    text = next((part for part in paragraphs if not part.startswith("#")), "")
    return Template(folder.name, " ".join(text.split()), folder)


def _require_empty(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or next(directory.iterdir(), None))):
        raise UsageError(f"{directory} is there already, and not empty", hint="name a directory that is not there yet")


def _copy(folder: Traversable, into: Path) -> Iterator[str]:
    into.mkdir()
    for item in folder.iterdir():
        name = _RENAMED.get(item.name, item.name)
        if item.is_file():
            (into / name).write_bytes(item.read_bytes())
            yield name
        elif name != "__pycache__":
            yield from (f"{name}/{below}" for below in _copy(item, into / name))


def _move(new: Path, directory: Path) -> None:
    if not directory.exists():
        new.rename(directory)
        return
    for item in new.iterdir():  # a directory that somebody may stand in: it is filled, not replaced
        item.rename(directory / item.name)
