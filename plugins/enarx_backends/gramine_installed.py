"""Gramine, as this machine has it: the program that starts enclaves, and the two libraries that enclaves are made of.

Where they are says the program itself, which is a script. What they are is measured: an enclave of another Gramine has
another MRENCLAVE.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from enarx_backends.gramine import LIBOS
from enarx_deploy.errors import KeepError

PROGRAM = "gramine-sgx"
OLDEST = (1, 9)
"""The version whose manifests are written here."""
_INSTALL = "install Gramine 1.9 or later: https://gramine.readthedocs.io has packages for Debian and Ubuntu"
_PAL = re.compile(r"^LIBPAL_PATH=[\"']?(/[^\"'\n]+)[\"']?$", re.MULTILINE)
_VERSION = re.compile(r"\b(\d{1,4})\.(\d{1,4})\b")
_LIMIT = 1 << 26  # bytes of each file
_PATIENCE = 10.0


class Gramine(NamedTuple):
    """The program's path, the libraries' contents, and the version, which is empty where it is not told."""

    program: str
    pal: bytes
    libos: bytes
    version: str


def find() -> Gramine:
    """What is installed. Raises KeepError."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise KeepError(f"there is no {PROGRAM} here", hint=_INSTALL)
    place = _PAL.search(_content(Path(program)).decode(errors="replace"))
    if place is None:
        raise KeepError(f"{program} does not say where its libpal.so is", hint=_INSTALL)
    pal = Path(place[1])
    version = _version(program)
    if version and tuple(map(int, version.split("."))) < OLDEST:
        raise KeepError(f"{program} is of version {version}, and 1.9 is needed", hint=_INSTALL)
    return Gramine(program, _content(pal), _content(pal.parent.parent / LIBOS), version)


def _version(program: str) -> str:
    """Not every version tells; what cannot take the manifest refuses it, as the processor does a wrong measurement."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        environment = {"PATH": os.defpath}
        said = subprocess.run(
            [program, "--version"], capture_output=True, timeout=_PATIENCE, env=environment, cwd="/", check=True
        )
        found = _VERSION.search(said.stdout.decode(errors="replace"))
        return found[0] if found else ""
    return ""


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except OSError as error:
        raise KeepError(f"Gramine's {path}: {error.strerror}", hint=_INSTALL) from error
    if len(content) > _LIMIT:
        raise KeepError(f"Gramine's {path} is larger than {_LIMIT:,} bytes", hint=_INSTALL)
    return content
