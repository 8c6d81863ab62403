"""The files of an image, taken out of its initramfs: for Keeps that are no machine, and are made of the same bytes."""

from __future__ import annotations

import stat
from collections.abc import Container, Iterable
from pathlib import PurePosixPath

from enarx_image import cpio, measurement
from enarx_image.errors import WrongImage
from enarx_image.image import INITRD, Image, content

_LIMIT = 1 << 28  # bytes, unpacked
_LINKS = 8


def files(image: Image) -> dict[str, bytes]:
    """The regular files by path, and by the path of each link what it leads to. Raises WrongImage.

    1. The initramfs has the digest that the image's is made of.
    2. It unpacks, to no more than a limit.
    3. Each name stays below the folder that the files are put into.
    4. Each file has the digest that the record has for it.
    """
    entries = _entries(image)
    found = _regular(entries)
    recorded = {file.path: file.sha256 for file in image.record.files}
    for path, of_file in found.items():
        if recorded.get(path) != measurement.sha256(of_file):
            raise WrongImage(f"the record of {image.folder} does not have this {path}", parts=(INITRD,))
    links = {entry.path: entry.content.decode(errors="replace") for entry in entries if stat.S_ISLNK(entry.mode)}
    return found | {path: found[_end(path, links, found)] for path in links}


def regular_files(image: Image) -> dict[str, bytes]:
    """The regular files by path, whatever the record says of them: steps 1 to 3 of `files`. Raises WrongImage."""
    return _regular(_entries(image))


def _regular(entries: Iterable[cpio.Entry]) -> dict[str, bytes]:
    return {entry.path: entry.content for entry in entries if stat.S_ISREG(entry.mode)}


def _entries(image: Image) -> list[cpio.Entry]:
    packed = content(image.initrd)
    if measurement.sha256(packed) != image.record.initrd.sha256:
        raise WrongImage(f"{image.initrd} was changed", parts=(INITRD,), hint="`enarx-deploy image verify` says how")
    try:
        entries = list(cpio.read(_unpacked(packed)))
    except ValueError as error:
        raise WrongImage(f"{image.initrd} is no initramfs of ours: {error}", parts=(INITRD,)) from error
    for entry in entries:
        if not entry.path or "\0" in entry.path or _normal(PurePosixPath("/", entry.path)) != entry.path:
            raise WrongImage(f"{entry.path!r} is no name of a file in an image", parts=(INITRD,))
    return entries


def _end(link: str, links: dict[str, str], found: Container[str]) -> str:
    path = link
    for _ in range(_LINKS):
        if path in found:
            return path
        path = _normal(PurePosixPath("/", path).parent / links.get(path, ""))
    raise WrongImage(f"the link {link} leads to no file", parts=(INITRD,))


def _normal(path: PurePosixPath) -> str:
    """Below the root, above which nothing is."""
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)
    return "/".join(parts)


def _unpacked(packed: bytes) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            unpacked = reader.read(_LIMIT + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(unpacked) > _LIMIT:
        raise ValueError(f"it is larger than {_LIMIT:,} bytes")
    return unpacked
