"""Native code of a module for a Keep that is no process of its host's: emulated, a compiler takes 77 times as long.

A virtual machine's processor has other extensions than the host's, so the code asks for those of x86-64-v2 alone; that
for an enclave looks at each bound itself, too. It is made by the engine that the image holds, in a process of its own,
and kept by the module's digest where only this user can write. Native code runs with all that a Keep has: a Keep takes
it only if its digest was measured with it, on the command line (`enarx_image.image.with_code`) or in the manifest.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from enarx_deploy import paths
from enarx_deploy.models import Package
from enarx_deploy.protocols import Launch

LIMIT = 1 << 28
"""Most bytes of code that are handed over; a larger module is compiled in the Keep."""
_PATIENCE = 600.0


class Kind(NamedTuple):
    """What code is for: a name for its place, and the compiler's option."""

    name: str
    option: str


MACHINE = Kind("v2", "--for-others")
ENCLAVE = Kind("v2-enclave", "--for-enclaves")


class Wanted(NamedTuple):
    """A module: where it is, its SHA-256 (hex), and whether code of it must look at a deadline."""

    path: str
    sha256: str
    has_deadline: bool


def of_launch(launch: Launch) -> Wanted:
    """The module of a Keep that is about to be started; no path where the host does not see it."""
    return Wanted(launch.module_path, launch.module_sha256, launch.has_deadline)


def of_package(package: Package) -> Wanted:
    """The module of a package, of which the same code is made as of its launch. Raises ManifestError."""
    from enarx_deploy.manifest import parse

    if not package.root or package.module is None:
        return Wanted("", "", False)
    root = Path(package.root)
    resources = parse((root / "Enarx.toml").read_bytes(), "Enarx.toml").manifest.resources
    return Wanted(str(root / "main.wasm"), package.module.sha256.removeprefix("sha256:"), resources.has_deadline)


def code_of(wanted: Wanted, kind: Kind = MACHINE) -> bytes:
    """The code, made now or before; empty where it cannot be made, which the Keep then says why."""
    if not wanted.path:
        return b""
    from importlib.metadata import version

    engine = f"wasmtime-{version('wasmtime')}-{kind.name}{'-deadline' if wanted.has_deadline else ''}"
    place = paths.cache_dir("guest-modules") / engine / f"{wanted.sha256}.cwasm"
    with contextlib.suppress(OSError):
        if not place.exists():
            _make(wanted, place, kind)
        content = place.read_bytes()
        return content if len(content) <= LIMIT else b""
    return b""


def _make(wanted: Wanted, place: Path, kind: Kind) -> None:
    """Whole or not at all. Raises OSError."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    command = [sys.executable, "-m", "enarx_keep.ahead_of_time", wanted.path]
    options = [kind.option, *(["--deadline"] if wanted.has_deadline else [])]
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, folder, *options], capture_output=True, timeout=_PATIENCE, check=False)
        Path(folder, place.name).replace(place)
