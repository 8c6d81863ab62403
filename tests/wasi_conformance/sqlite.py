"""SQLite, as the crate `libsqlite3-sys` brings it in one file, under a program that keeps a ledger in a database."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.wasi_conformance import by_zig, crates
from tests.wasi_conformance.judged import Ended, Judged, Run

from enarx_deploy import tools

_CRATE, _VERSION = "libsqlite3-sys", "0.30.1"
_LEDGER = Path(__file__).with_name("ledger.c")
_FLAGS = ("-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION", "-Isqlite3", *by_zig.EMULATED)
_SAYS = b"100 495700\n5000 25005000 ok\n"


def judged() -> Iterator[Judged]:
    """It, where there is a cargo to fetch it."""
    if tools.all_on_path("cargo"):
        yield Judged("sqlite", _faults)


def _faults(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
    tree = crates.fetched(kept / "sqlite", {_CRATE: _VERSION}) / "vendor" / f"{_CRATE}-{_VERSION}"
    module, root = kept / f"{_CRATE}-{_VERSION}.wasm", kept / "sqlite" / "root"
    by_zig.build(tree, ["sqlite3/sqlite3.c"], module, flags=_FLAGS, libraries=[str(_LEDGER), *by_zig.EMULATIONS])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    ended = run(Run(module, root))
    good = (ended.status, ended.stdout) == (0, _SAYS)
    return [] if good else [f"status {ended.status}: {ended.stdout!r} {ended.stderr[-200:]!r}"]
