"""Packages of 100 MB: made, and verified, beside what `sha256sum` takes for the same bytes; and the memory for it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benches.figures import Bound, Ratio, Section

SIZE = 100_000_000
"""Bytes, in ten files."""
ROUNDS = 5
_MODULE = b"\0asm\x01\0\0\0"
_PROGRAM = """
import sys
from pathlib import Path
from enarx_deploy import package_tree
package_tree.read(Path(sys.argv[1]))
"""


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Copying a tree to a package and reading one, in turns with sha256sum over the same files."""
    from enarx_deploy import package_tree

    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name:
        tree = _tree(Path(name) / "tree", SIZE)
        small = _tree(Path(name) / "small", SIZE // 10)
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        made, read, theirs = [], [], []
        for number in range(ROUNDS):
            theirs.append(_timed(lambda: subprocess.run(["sha256sum", *files], stdout=subprocess.DEVNULL, check=True)))
            made.append(_timed(partial(package_tree.copy, tree, Path(name) / f"made-{number}")))
            read.append(_timed(lambda: package_tree.read(tree)))
        growth = _peak(tree) / _peak(small)
    ours, theirs_median = statistics.median(made), statistics.median(theirs)
    verified = statistics.median(read)
    rows = [
        ["package_tree.copy", f"{SIZE / ours / 1e6:.0f}"],
        ["package_tree.read", f"{SIZE / verified / 1e6:.0f}"],
        ["sha256sum", f"{SIZE / theirs_median / 1e6:.0f}"],
    ]
    ratios = [
        Ratio("packaging 100 MB, speed over sha256sum's", theirs_median / ours, "more", Bound(0.8, 1.0)),
        Ratio("verifying 100 MB, speed over sha256sum's", theirs_median / verified, "more", Bound(0.8, 1.0)),
        Ratio("peak memory for 100 MB over that for 10 MB", growth, "less", Bound(1.2, 1.05)),
    ]
    note = (
        "A package's entries have four digests (SHA-224 to 512), taken on two processors; sha256sum takes one. "
        "A sha256sum that uses the processor's instructions for SHA-256 is several times faster."
    )
    return Section("Packages (MB/s)", ["what", "MB/s"], rows, ratios, note)


def _tree(root: Path, size: int) -> Path:
    """A package's tree with assets of this size."""
    (root / "assets").mkdir(parents=True)
    (root / "main.wasm").write_bytes(_MODULE)
    for number in range(10):
        (root / "assets" / str(number)).write_bytes(os.urandom(size // 10))
    return root


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak(tree: Path) -> float:
    """The most memory (KiB) of a process that verifies a tree."""
    program = f"{_PROGRAM}\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    return float(subprocess.check_output([sys.executable, "-c", program, str(tree)]))
