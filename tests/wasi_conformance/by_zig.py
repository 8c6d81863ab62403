"""C and C++ of others, compiled by zig's clang as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from enarx_deploy import paths

EMULATED = ("-D_WASI_EMULATED_SIGNAL", "-D_WASI_EMULATED_PROCESS_CLOCKS", "-D_WASI_EMULATED_GETPID")
"""Flags for what wasi-libc has as libraries of their own."""
EMULATIONS = ("-lwasi-emulated-signal", "-lwasi-emulated-process-clocks", "-lwasi-emulated-getpid")
"""These libraries."""


def build(
    tree: Path,
    sources: Sequence[str],
    module: Path,
    *,
    flags: Sequence[str] = (),
    libraries: Sequence[str] = (),
    compiler: str = "cc",
) -> None:
    """Compile `sources` (globs in `tree`), and link them with `libraries`, which may be more sources, to `module`."""
    if module.exists():
        return
    cache = str(paths.cache_dir("zig"))
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    files = [str(path.relative_to(tree)) for pattern in sources for path in sorted(tree.glob(pattern))]
    words = [sys.executable, "-m", "ziglang", compiler, "--target=wasm32-wasi", "-O1", "-w", "-I.", *flags]
    subprocess.run(
        [*words, *files, *libraries, "-o", str(module)], cwd=tree, env=environment, check=True, capture_output=True
    )
