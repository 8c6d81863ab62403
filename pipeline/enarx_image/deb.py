"""Files of a Debian package: an archive of ar(5) that holds one of tar, compressed by xz (deb(5))."""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from enarx_image.errors import WrongInput

_MAGIC = b"!<arch>\n"
_HEADER = 60


class Member(NamedTuple):
    """A file or link of a package; `path` is relative to the root. Where it is a link, `target` says to what."""

    path: str
    content: bytes
    target: str = ""


def members(package: bytes, name: str, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The files and relative links of a package whose digest was checked, where `wanted` says so of their path.

    Raises WrongInput, naming the package.
    """
    try:
        data = io.BytesIO(_data(package))
        with lzma.open(data) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
            for info in archive:
                path = info.name.removeprefix("./")
                if not wanted(path):
                    continue
                _require_inside(path)
                if info.issym() and not info.linkname.startswith("/"):
                    _require_inside(str(PurePosixPath(path).parent / info.linkname))
                    yield Member(path, b"", info.linkname)
                elif info.isfile() and (file := archive.extractfile(info)) is not None:
                    yield Member(path, file.read())
    except (ValueError, lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise WrongInput(f"{name} is no Debian package that can be read: {error}") from error


def _require_inside(path: str) -> None:
    """That a path does not lead out of the root. Raises ValueError."""
    depth = 0
    for part in PurePosixPath(path).parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or part == "/":
            raise ValueError(f"a path leads out of its root: {path}")


def _data(package: bytes) -> memoryview:
    """The member `data.tar.xz`. Raises ValueError."""
    if not package.startswith(_MAGIC):
        raise ValueError("it is no archive of ar")
    view, place = memoryview(package), len(_MAGIC)
    while place + _HEADER <= len(package):
        header = package[place : place + _HEADER]
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        place += _HEADER
        if name == "data.tar.xz":
            return view[place : place + size]
        if name.startswith("data.tar"):
            raise ValueError(f"it holds {name}, and data.tar.xz is what is read")
        place += size + size % 2
    raise ValueError("it holds no data.tar.xz")
