"""Go's own tests of its standard library, by the Go of this machine (`go test -c`, GOOS=wasip1)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.wasi_conformance.judged import Ended, Judged, Run

_NO_DEVICES = "a Keep has no /dev"
PACKAGES: dict[str, dict[str, str]] = {
    "os": {
        "TestOpenFileDevNull": _NO_DEVICES,
        "TestDevNullFile": _NO_DEVICES,
    },
    "io": {},
    "io/fs": {},
    "path/filepath": {},
    "time": {},
    "bufio": {},
    "strings": {},
    "bytes": {},
    "sync": {},
    "compress/gzip": {},
    "encoding/json": {},
}
"""Each package, and what differs by design in its tests."""

_FAILED = re.compile(rb"^\s*--- FAIL: (\S+)", re.MULTILINE)
_PASSED = re.compile(rb"^\s*--- PASS: ", re.MULTILINE)
_SOURCES_OF_OTHERS = {"path/filepath": ["unicode"]}  # which its tests look at too


def judged() -> Iterator[Judged]:
    """One for each package, where there is a Go."""
    if shutil.which("go") is None:
        return
    for package, differs in PACKAGES.items():
        yield Judged(f"go:{package}", _faults(package), differs)


def _faults(package: str) -> Callable[[Path, Callable[[Run], Ended]], list[str]]:
    def faults(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
        home = Path(_asked("env", "GOROOT"))
        module = _built(kept, home, package)
        root = _root(kept / "go-root" / package, home, package)
        folder = home / "src" / package
        ended = run(Run(module, root, ("-test.short", "-test.v"), {"PWD": str(folder)}))
        failed = [name.decode() for name in _FAILED.findall(ended.stdout)]
        if (ended.status and not failed) or not _PASSED.search(ended.stdout):
            last = (ended.stderr or ended.stdout).decode(errors="replace").strip().splitlines()[-1:]
            return [f"status {ended.status}: {' '.join(last)}"]
        return [name for name in failed if not any(other.startswith(f"{name}/") for other in failed)]

    return faults


def _asked(*words: str) -> str:
    return subprocess.run(["go", *words], check=True, capture_output=True, text=True).stdout.strip()


def _built(kept: Path, home: Path, package: str) -> Path:
    module = kept / f"go-{_asked('env', 'GOVERSION')}-{package.replace('/', '-')}.wasm"
    if not module.exists():
        environment = os.environ | {"GOOS": "wasip1", "GOARCH": "wasm"}
        words = ["go", "test", "-c", "-o", str(module), "."]
        subprocess.run(words, cwd=home / "src" / package, env=environment, check=True)
    return module


def _root(root: Path, home: Path, package: str) -> Path:
    """What the tests expect of a machine: the part of Go's own tree that they read, and a place for temporary files."""
    shutil.rmtree(root, ignore_errors=True)
    copied = root / home.relative_to("/")
    (root / "tmp").mkdir(parents=True)
    for name in ("src", "lib"):
        (copied / name).mkdir(parents=True)
    for file in home.iterdir():
        if file.is_file():
            shutil.copy(file, copied)
    shutil.copytree(home / "lib" / "time", copied / "lib" / "time")
    for top in (package.partition("/")[0], *_SOURCES_OF_OTHERS.get(package, [])):
        shutil.copytree(home / "src" / top, copied / "src" / top)
    return root
