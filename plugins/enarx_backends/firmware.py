"""The firmware that a confidential virtual machine begins with: pinned by its digest in `firmware.toml`."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import KeepError

PINS = Path(__file__).with_name("firmware.toml")
INSTALLED = Path("/usr/share/ovmf")
_LIMIT = 1 << 26  # bytes

Kind = Literal["snp", "tdx"]


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A firmware: its file's name and digest (hex), and the package that brings it."""

    file: str
    sha256: str
    package: str


def pin(kind: Kind) -> Pin:
    """The firmware that Keeps of a kind begin with."""
    return msgspec.convert(tomllib.loads(PINS.read_text())[kind], Pin)


def places(kind: Kind) -> tuple[Path, ...]:
    """Where it is looked for: what this user put there, then what the system installed."""
    name = pin(kind).file
    return paths.cache_dir("firmware") / name, INSTALLED / name


def find(kind: Kind) -> Path:
    """The firmware's file, which has the pinned digest. Raises KeepError."""
    wanted = pin(kind)
    others = []
    for path in places(kind):
        digest = _digest(path)
        if digest == wanted.sha256:
            return path
        if digest:
            others.append(f"{path} has the digest {digest}")
    found = "; ".join(others) or "there is none"
    raise KeepError(
        f"the firmware of {kind} Keeps, {wanted.file} of the digest {wanted.sha256}, is not here: {found}",
        hint=f"take it from {wanted.package} and put it into {places(kind)[0].parent}",
    )


def content(kind: Kind) -> bytes:
    """The firmware's bytes, which have the pinned digest whatever becomes of the file. Raises KeepError."""
    path = find(kind)
    found = _read(path)
    if hashlib.sha256(found).hexdigest() != pin(kind).sha256:
        raise KeepError(f"{path} was changed while it was read", hint="is somebody installing it just now? Try again")
    return found


def digest(path: Path) -> str:
    """The digest of a firmware that is there, as `sha256:HEX`. Raises KeepError."""
    found = _digest(path)
    if not found:
        raise KeepError(f"{path} cannot be read", hint="is it there, and may you read it?")
    return f"sha256:{found}"


def _digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; "" where it cannot be read."""
    try:
        return hashlib.sha256(_read(path)).hexdigest()
    except OSError:
        return ""


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LIMIT + 1)
