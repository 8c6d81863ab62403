"""Source languages: how a project becomes a wasm module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from enarx_deploy.project import Project
    from enarx_deploy.protocols.progress import Progress


class Tool(msgspec.Struct, frozen=True):
    """A tool that was found: the words that start it, and what it says of its version.

    `files` are what else it makes modules with: programs and libraries, or folders of them, by their absolute paths.
    With the program they are what Enarx.lock has a digest of.
    """

    command: tuple[str, ...]
    version: str
    files: tuple[str, ...] = ()


class MissingTool(msgspec.Struct, frozen=True):
    """A tool that was not found: its name, and the exact command that installs it, as a user would type it.

    Where a package brings it, `registry` says whose, and `command` has the words that install it for this user alone,
    so that a program can run them. Both are empty where it takes the rights of an administrator, or a choice.
    """

    name: str
    install: str
    registry: Literal["", "PyPI", "npm"] = ""
    command: tuple[str, ...] = ()


@runtime_checkable
class Toolchain(Protocol):
    """A source language: finds its project, its tool, and turns sources into a wasm module.

    Manifest table read: ``[build]``

    - ``toolchain``: this provider's name; without it the first provider whose `detect` answers is taken.
    - ``source``: the file or folder to build, relative to the project.
    - ``args``: more words for the tool.
    - ``profile``, ``features``, ``network``: for the toolchains that have them.

    An attribute ``by_project_file = True`` says that what `detect` looks for describes a whole project, such as
    ``Cargo.toml``: such a toolchain is taken before those that know their sources by a suffix. Only one with
    ``has_features = True`` is given a project that asks for ``features``.
    """

    name: str

    def detect(self, project: Project) -> str | None:
        """Why this project is of this language (one phrase, such as "main.c is here"), or None."""

    def find(self) -> Tool | MissingTool:
        """The tool on this machine. Must not build or download anything."""

    def inputs(self, project: Project) -> Sequence[Path]:
        """Every file that the build reads, so that an unchanged project is skipped."""

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        """Write the module to `output`. Raises BuildError with what the tool said."""


@runtime_checkable
class FindsForProject(Protocol):
    """What a `Toolchain` has too where its tool depends on the project, which may bring one or pin its version."""

    def find_for(self, project: Project) -> Tool | MissingTool:
        """As `find`, which is then the tool of a project that says nothing about it."""
