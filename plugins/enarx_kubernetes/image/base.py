"""The bottom layer, where no base image is named: the CPython that runs this program, and the libraries that it loads.

It has no shell, no package manager and no other program. It is for nodes of this machine's architecture and as good as
this machine's CPython: whoever wants another one names a base image.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from enarx_deploy import paths
from enarx_deploy.errors import UsageError
from enarx_kubernetes.image import bytecode
from enarx_kubernetes.image.layer import Directory, Entry, File, Link

USER = 65532
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|site-packages|test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|config-[^/]+)(/|$)"
    r"|\.(pyc|a)$|(^|/)turtle\.py$"
)
"""Of the standard library: what no service imports."""

_NEEDED = re.compile(r"(?:=>\s*)?(/[^\s]+)\s+\(0x")
_LINKERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
_ELF = b"\x7fELF"
_ETC = {
    "passwd": f"root:x:0:0:root:/:/nonexistent\nkeep:x:{USER}:{USER}:keep:/:/nonexistent\n",
    "group": f"root:x:0:\nkeep:x:{USER}:\n",
    "nsswitch.conf": "hosts: files dns\n",
}


def entries(libraries_of: Iterable[Path] = ()) -> dict[str, Entry]:
    """The layer's entries, with the libraries that CPython and the files of `libraries_of` load. Raises UsageError."""
    program = Path(os.path.realpath(sys.executable))
    made: dict[str, Entry] = {str(program): File(program, executable=True)}
    binaries = [program, *libraries_of]
    for place in sorted({Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib"))}):
        for path in _library(place):
            made[str(path)] = File(path)
            binaries += [path] if path.suffix == ".so" else []
    made |= bytecode.beside(made)
    made |= {path: File(Path(path), executable=True) for path in sorted(_shared(binaries))}
    made |= {f"/etc/{name}": File(text.encode()) for name, text in _ETC.items()}
    made |= {"/tmp": Directory(0o1777), "/run": Directory()}  # noqa: S108 - the image's
    for name in ("python3", "python"):
        made.setdefault(f"/usr/local/bin/{name}", Link(str(program)))
    return made


def _library(place: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(place):
        for name in names:
            path = Path(directory) / name
            if not _LEFT_OUT.search(str(path.relative_to(place))) and path.is_file():
                yield path


def _shared(binaries: list[Path]) -> set[str]:
    """The shared libraries that these load, as the dynamic linker of this machine finds them.

    What a wheel brings along for itself lies beside its own modules, and goes where they go.
    """
    elf = [binary for binary in binaries if _is_elf(binary)]
    found = {os.path.normpath(path) for path in _loaded(elf)}
    return {path for path in found if not path.startswith(f"{sys.prefix}/") or sys.prefix == sys.base_prefix}


def _loaded(binaries: list[Path]) -> set[str]:
    """All that the dynamic linker names; what it named for the same files before is taken again."""
    seen = hashlib.sha256(repr([(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in binaries]).encode())
    note = paths.cache_dir("kubernetes", "libraries") / f"{seen.hexdigest()}.json"
    try:
        return set(json.loads(note.read_bytes()))
    except (OSError, ValueError):
        found = {path for binary in binaries for path in _listed(binary)}
        paths.write_atomically(note, json.dumps(sorted(found)).encode())
        return found


def _listed(binary: Path) -> list[str]:
    linker = _LINKERS.get(platform.machine(), "")
    try:
        ended = subprocess.run([linker, "--list", str(binary)], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"the libraries of this machine's CPython cannot be listed: {linker or 'its linker'} does not run",
            hint="name a base image: base in [deploy.NAME.kubernetes]",
        ) from error
    return _NEEDED.findall(ended.stdout)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ELF)) == _ELF
