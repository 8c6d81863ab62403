"""Crates' own tests, compiled for WASI by the Rust of this machine (`cargo test --no-run`).

They are of versions that Rust 1.63 compiles, and need no crate beside what theirs depends on. A test that fails ends
its program there, since what panics is aborted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.wasi_conformance import crates
from tests.wasi_conformance.judged import Ended, Judged, Run

from enarx_deploy import tools

VERSIONS = {
    "file_diff": "1.0.0",
    "fnv": "1.0.7",
    "fs_extra": "1.2.0",
    "itoa": "1.0.5",
    "miniz_oxide": "0.6.2",
    "rev_lines": "0.2.1",
    "rust-ini": "0.13.0",
    "semver": "1.0.14",
}
# Of `fs_extra`: tests that start threads, and those that ask for a path's canonical form, which Rust has not on WASI.
_LEFT_OUT = {"fs_extra": ("progress", "details")}

_PASSED = re.compile(rb"^test result: ok\. \d+ passed; 0 failed", re.MULTILINE)
_LAST = re.compile(rb"^test (\S+) \.\.\.", re.MULTILINE)


class _Compiler(NamedTuple):
    """A cargo whose compiler has the target, by whichever name it has it."""

    cargo: str
    target: str


def judged() -> Iterator[Judged]:
    """One for each crate, where a Rust has the target."""
    compiler = _compiler()
    if compiler is not None:
        yield from (Judged(f"rust:{name}", _faults(name, compiler)) for name in VERSIONS)


def _compiler() -> _Compiler | None:
    for cargo in tools.all_on_path("cargo"):
        rustc = Path(cargo).with_name("rustc")
        asked = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True, check=False)
        for target in ("wasm32-wasip1", "wasm32-wasi"):
            if Path(asked.stdout.strip(), "lib", "rustlib", target, "lib").is_dir():
                return _Compiler(cargo, target)
    return None


def _faults(name: str, compiler: _Compiler) -> Callable[[Path, Callable[[Run], Ended]], list[str]]:
    def faults(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
        package = crates.fetched(kept / "rust", VERSIONS)
        left_out = [word for one in _LEFT_OUT.get(name, ()) for word in ("--skip", one)]
        modules = _modules(package, name, compiler)
        return [fault for module in modules for fault in _failed(module, _root(package, name), left_out, run)]

    return faults


def _modules(package: Path, name: str, compiler: _Compiler) -> list[Path]:
    """The programs of a crate's tests."""
    home = package / "home"
    home.mkdir(exist_ok=True)
    vendored = json.dumps(str(package / "vendor"))
    (home / "config.toml").write_text(f'source.crates-io.replace-with = "kept"\nsource.kept.directory = {vendored}\n')
    environment = os.environ | {"CARGO_HOME": str(home), "RUSTC": str(Path(compiler.cargo).with_name("rustc"))}
    words = [compiler.cargo, "test", "--no-run", "--offline", "--target", compiler.target, "--package", name]
    words += ["--lib", "--tests", "--message-format", "json"]
    ended = subprocess.run(words, cwd=package, env=environment, capture_output=True, check=True)
    made = [json.loads(line) for line in ended.stdout.splitlines()]
    return [Path(one["executable"]) for one in made if one.get("executable")]


def _root(package: Path, name: str) -> Path:
    """A copy of the crate, whose tests read and write beside it."""
    root = package / "roots" / name
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(package / "vendor" / f"{name}-{VERSIONS[name]}", root)
    return root


def _failed(module: Path, root: Path, words: Sequence[str], run: Callable[[Run], Ended]) -> list[str]:
    ended = run(Run(module, root, words))
    if ended.status == 0 and _PASSED.search(ended.stdout):
        return []
    return [b"".join(_LAST.findall(ended.stdout)[-1:]).decode() or f"{module.stem}: status {ended.status}"]
