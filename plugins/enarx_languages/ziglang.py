"""zig: the PyPI package ziglang, or one that is installed. It compiles C, C++ and Zig, and brings their libraries."""

from __future__ import annotations

import os
from pathlib import Path

from enarx_deploy import paths, tools
from enarx_deploy.protocols import MissingTool, Progress, Tool

CACHE = "ZIG_GLOBAL_CACHE_DIR"
"""The variable that names what all projects share: the libraries of C and C++, built once."""
SLOW_BECAUSE = "zig builds the libraries of C and C++ when it first uses them in this version or with these options"
"""What makes a compiler of one second take half a minute."""
_REQUIREMENT = "ziglang==0.17.1"


def find(*words: str) -> Tool | None:
    """The zig to use, started with `words`."""
    return _package(words) or _installed(words)


def missing(name: str) -> MissingTool:
    """What to install where there is none; `name` is what it is needed for."""
    return tools.pypi_package(name, _REQUIREMENT)


def environment(progress: Progress, *, first_build: str = "") -> dict[str, str]:
    """One cache for all projects. `first_build` is said where nothing is in it yet."""
    cache = os.environ.get(CACHE) or str(paths.cache_dir("zig"))
    if first_build and not Path(cache, "o").exists():
        progress(first_build)
    return {CACHE: cache, "ZIG_LOCAL_CACHE_DIR": cache}


def _package(words: tuple[str, ...]) -> Tool | None:
    """The program itself, and not `python -m ziglang`, which starts an interpreter for each file that is compiled."""
    installed = tools.in_distribution("ziglang", "ziglang/zig")
    if installed is None:
        return None
    return Tool(command=(str(installed.path), *words), version=f"zig {installed.version} (PyPI)")


def _installed(words: tuple[str, ...]) -> Tool | None:
    zig = tools.on_path("zig")
    version = tools.said(zig, "version") if zig else ""
    return Tool(command=(zig, *words), version=f"zig {version}") if zig and version else None
