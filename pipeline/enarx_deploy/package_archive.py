"""One file that carries a package and what is said of it, to where no registry is reached: a plain tar.

    HEX/PATH                  each file of the package, by its path
    HEX.attachments/SHA256    each thing that is said of it, as it is kept beside a tree

The members are regular files in the order of their names, each once; there are no links, devices, directories or
extended headers, and nothing is compressed. Only this form is read, from front to back, so that reading takes the time
and memory that the limits of a package bound, whoever made the file. Unpacked by tar, it is a store of packages.
"""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from enarx_deploy import package_attachments, package_tree, plain_files, staging
from enarx_deploy.errors import PackageError
from enarx_deploy.models import Package
from enarx_deploy.protocols import ATTACHMENTS_LIMIT, Attachment

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_ATTACHED_LIMIT = 1 << 27  # bytes of all attachments, which are held in memory
_TREE = re.compile(r"(?P<hex>[0-9a-f]{64})/(?P<path>[^/].*)")
_ATTACHED = re.compile(r"(?P<hex>[0-9a-f]{64})\.attachments/(?P<name>[0-9a-f]{64})")
_HINT = "`enarx-deploy package pack` makes one"


def write(package: Package, attachments: list[Attachment], place: Path) -> None:
    """Write an archive, whole or not at all. Raises PackageError."""
    with _refusals(place), staging.directory(place.absolute().parent) as new:
        with (new / place.name).open("wb") as file:
            write_to(file, package, attachments)
        (new / place.name).replace(place)


def write_to(stream: IO[bytes], package: Package, attachments: list[Attachment]) -> None:
    """The same into a stream that need not be able to seek. Raises ValueError where a path is too long, OSError."""
    stem = package.digest.removeprefix("sha256:")
    said = dict(package_attachments.encoded(one) for one in attachments)
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(said):
            _add_bytes(archive, f"{stem}.attachments/{name}", said[name])
        for entry in package.files:
            _add_file(archive, f"{stem}/{entry.path}", Path(package.root) / entry.path)


def read(file: IO[bytes], into: Path, shown: str) -> Package:
    """Lay out the package in an archive as `into/HEX`, and beside it what is said of it: all or nothing.

    Raises PackageError, OSError.
    """
    members = _Members(file, shown)
    attached: dict[str, bytes] = {}
    for name in members.names():
        found = _ATTACHED.fullmatch(name)
        if found is None:
            break
        left = _ATTACHED_LIMIT - sum(map(len, attached.values()))
        attached[found["name"]] = b"".join(members.chunks(min(left, package_attachments.JSON_LIMIT)))
        if len(attached) > ATTACHMENTS_LIMIT:
            raise PackageError(f"{shown} holds more than {ATTACHMENTS_LIMIT} attachments", hint=_HINT)
    first = _TREE.fullmatch(members.name)
    if first is None:
        raise PackageError(f"{shown} holds no package: {members.name!a} is not a file of one", hint=_HINT)
    said = [package_attachments.decoded(name, data, shown) for name, data in attached.items()]
    package = package_tree.lay_out(_files(members, first["hex"]), into, f"sha256:{first['hex']}", shown)
    package_attachments.replace(into, package.digest, said)
    return package


def _files(members: _Members, stem: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The file at which the members stand, and those after it."""
    while members.name:
        found = _TREE.fullmatch(members.name)
        if found is None or found["hex"] != stem:
            raise PackageError(f"{members.shown}: {members.name!a} is not a file of the package", hint=_HINT)
        yield found["path"], members.chunks(package_tree.TOTAL_LIMIT)
        members.advance()


class _Members:
    """The members of a tar, read once: `name` is that of the present one, "" after the last."""

    def __init__(self, file: IO[bytes], shown: str) -> None:
        self.shown = shown
        self.name = ""
        self._file = file
        self._size = 0  # bytes of the present member
        self.advance()

    def names(self) -> Iterator[str]:
        """The name of the present member, and of each after it whose content was read."""
        while self.name:
            yield self.name
            self.advance()

    def advance(self) -> None:
        """Go to the next member, whose name must come after the present one's. Raises PackageError."""
        header = self._take(_BLOCK)
        previous, self.name = self.name, ""
        if not any(header):
            if self._file.read(2 * tarfile.RECORDSIZE).strip(b"\0"):
                raise PackageError(f"{self.shown}: something follows the end of the archive", hint=_HINT)
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise PackageError(f"{self.shown} is not a tar archive: {error}", hint=_HINT) from error
        if member.type != tarfile.REGTYPE or member.size < 0:
            raise PackageError(f"{self.shown}: {member.name!a} is not a regular file", hint=_HINT)
        if _order(member.name) <= _order(previous):
            raise PackageError(f"{self.shown}: {member.name!a} comes twice, or out of its place", hint=_HINT)
        self.name, self._size = member.name, member.size

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The content of the present member. Raises PackageError if it is larger than `limit`."""
        if self._size > limit:
            raise PackageError(f"{self.shown}: {self.name!a} is larger than {limit:,} bytes", hint=_HINT)
        left = self._size
        while left:
            chunk = self._take(min(_CHUNK, left))
            left -= len(chunk)
            yield chunk
        self._take(-self._size % _BLOCK)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise PackageError(f"{self.shown} is cut short", hint="copy the archive anew")
        return data


def _order(name: str) -> tuple[bool, str]:
    """Attachments come first."""
    return bool(name) and not _ATTACHED.fullmatch(name), name


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    with plain_files.opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        archive.addfile(_member(name, path.stat().st_size), file)


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_member(name, len(data)), io.BytesIO(data))


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A member without anything of the machine and the time it was made on."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


@contextlib.contextmanager
def _refusals(place: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise PackageError(
            f"{place}: the package has a path that is too long for an archive: {error}", hint="give it a shorter one"
        ) from error
    except OSError as error:
        raise PackageError(
            f"{place} cannot be written: {error.strerror}", hint="is there space, and may you write there?"
        ) from error
