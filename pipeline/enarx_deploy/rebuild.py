"""Builds a project a second time, in another directory, to see whether the same bytes come out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import wasm_sections
from enarx_deploy.errors import BuildError
from enarx_deploy.runner import run

if TYPE_CHECKING:
    from enarx_deploy.models import Module
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.project import Project
    from enarx_deploy.runner import Reporter

_ELSEWHERE = "a/second/place"  # below a temporary directory: another path, and another length of it
_LEFT_OUT = (".enarx", ".git", ".zig-cache")
_LINKED = "node_modules"  # tools, not sources; large
_CARGO = ("Cargo.toml", "target")  # where the first is, the second is what builds leave behind
_SECOND = "rebuilt.wasm"


def require_reproducible(
    project: Project, module: Module, load: Callable[[Path], Project], plugins: PluginManager, reporter: Reporter
) -> None:
    """Build a copy of the project, which `load` reads, and compare with `module`.

    Raises BuildError where they differ, and keeps the second one beside the first.
    """
    first = Path(module.path).read_bytes()
    with tempfile.TemporaryDirectory(prefix="enarx-rebuild.") as folder:
        copy = Path(folder, _ELSEWHERE)
        _copy(project.root, copy)
        reporter.note(f"building once more, in {copy}")
        made = run(load(copy), plugins, reporter, until="compile")[-1].record
        second = Path(made.path).read_bytes()
    if first == second:
        return
    kept = project.work_dir / _SECOND
    kept.write_bytes(second)
    raise BuildError(
        f"the build is not reproducible: two builds of the same sources differ first in "
        f"{wasm_sections.first_difference(first, second)}",
        hint=f"compare {module.path} and {kept}",
    )


def _copy(root: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True)
    shutil.copytree(root, copy, symlinks=True, ignore=_ignored)
    if (root / _LINKED).exists():
        (copy / _LINKED).symlink_to(root / _LINKED)


def _ignored(_folder: str, names: list[str]) -> list[str]:
    return [*_LEFT_OUT, _LINKED, *(_CARGO[1:] if _CARGO[0] in names else ())]
