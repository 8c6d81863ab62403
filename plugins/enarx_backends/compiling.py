"""Native code of a module for a virtual machine, made on its host: under emulation the compiler takes 77 times as long.

The machine's processor has other extensions than the host's, so the code asks for those of x86-64-v2 alone. It is made
by the engine that the image holds, in a process of its own, and kept by the module's digest where only this user can
write. Only a Keep that no hardware protects takes it: the host could hand it any code.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from enarx_deploy import paths
from enarx_deploy.protocols import Launch

LIMIT = 1 << 28
"""Most bytes of code that are handed over; a larger module is compiled in the Keep."""
_PATIENCE = 600.0


def code_for(launch: Launch) -> bytes:
    """The code, made now or before; empty where it cannot be made, which the Keep then says why."""
    if not launch.module_path:
        return b""
    from importlib.metadata import version

    engine = f"wasmtime-{version('wasmtime')}-v2{'-deadline' if launch.has_deadline else ''}"
    place = paths.cache_dir("guest-modules") / engine / f"{launch.module_sha256}.cwasm"
    with contextlib.suppress(OSError):
        if not place.exists():
            _make(launch, place)
        content = place.read_bytes()
        return content if len(content) <= LIMIT else b""
    return b""


def _make(launch: Launch, place: Path) -> None:
    """Whole or not at all. Raises OSError."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    command = [sys.executable, "-m", "enarx_keep.ahead_of_time", launch.module_path]
    options = ["--for-others", *(["--deadline"] if launch.has_deadline else [])]
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, folder, *options], capture_output=True, timeout=_PATIENCE, check=False)
        Path(folder, place.name).replace(place)
