"""What a target writes for others to start its Keeps from, as files of one directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from enarx_deploy import paths
from enarx_deploy.errors import UsageError
from enarx_deploy.protocols import CanRender, Target


def renderer(target: Target) -> CanRender:
    """The target, if it has files to write. Raises UsageError."""
    if not isinstance(target, CanRender):
        raise UsageError(
            f"the target {target.name!r} has no files from which others could start its Keeps",
            hint="--render is for targets such as kubernetes: say which with --target",
        )
    return target


def write(files: Mapping[str, bytes], directory: Path) -> list[str]:
    """Write them, each whole or not at all; returns their paths. What else is in the directory is left alone.

    Raises UsageError where that cannot be done.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            paths.write_atomically(directory / name, content, mode=0o644)
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", hint="name a directory that you can write to") from error
    return [str(directory / name) for name in files]
