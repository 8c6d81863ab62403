"""An image in a directory: `kernel`, `initrd`, `cmdline`, what they are made of (`image.json`), an SBOM, a signature.

`image.json` is a record and no proof: whoever trusts an image compares its digest with one from elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from enarx_image import measurement
from enarx_image.errors import MissingImage, WrongImage
from enarx_image.pins import Pins

RECORD = "image.json"
KERNEL, INITRD, CMDLINE, SBOM = "kernel", "initrd", "cmdline", "sbom.cdx.json"
PARTS = (KERNEL, INITRD, CMDLINE)
"""What is measured."""
SIGNATURE = "signature.dsse.json"
_LIMIT = 1 << 28
_TOLD = 5
_ANEW = "build the image anew, or fetch it anew"
_Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class Part(msgspec.Struct, frozen=True):
    """A file of the image; `size` in bytes."""

    sha256: _Digest
    size: int


class File(msgspec.Struct, frozen=True):
    """A file in the initramfs, before compression, and what it was taken from."""

    path: str
    size: int
    sha256: _Digest
    origin: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is: its parts, and what they were made from. `distributions` are Python's, by name and version."""

    format: Literal["wasm-tee/image/v1"] = "wasm-tee/image/v1"
    architecture: Literal["x86_64"] = "x86_64"
    digest: _Digest
    kernel: Part
    initrd: Part
    cmdline: Part
    kernel_version: str
    inputs: _Digest
    pins: Pins
    distributions: dict[str, str]
    files: tuple[File, ...]


class Image(msgspec.Struct, frozen=True):
    """An image and where it is. `cmdline` is the text that the kernel must be given, and nothing else."""

    folder: Path
    record: Record
    cmdline: str

    @property
    def kernel(self) -> Path:
        """The kernel, as a boot loader takes it."""
        return self.folder / KERNEL

    @property
    def initrd(self) -> Path:
        """The initramfs, compressed."""
        return self.folder / INITRD

    @property
    def digest(self) -> str:
        """See `measurement.image_digest`."""
        return self.record.digest


def read(folder: Path) -> Image:
    """An image, by its record alone, which is at one with itself. Raises MissingImage, WrongImage."""
    try:
        described, cmdline = content(folder / RECORD), content(folder / CMDLINE)
    except OSError as error:
        raise MissingImage(f"{folder} holds no image: {error.strerror}", hint="`enarx-deploy image build`") from error
    try:
        record = msgspec.json.decode(described, type=Record)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WrongImage(f"{folder / RECORD}: {error}", parts=(RECORD,), hint=_ANEW) from error
    if not cmdline.isascii():
        raise WrongImage(f"{folder / CMDLINE}: not in ASCII", parts=(CMDLINE,), hint=_ANEW)
    if measurement.image_digest(**{name: getattr(record, name).sha256 for name in PARTS}) != record.digest:
        raise WrongImage(f"{folder}: the record's digest is not that of its parts", parts=(RECORD,), hint=_ANEW)
    return Image(folder, record, cmdline.decode("ascii"))


def with_code(image: Image, code: str) -> Image:
    """The image as a Keep boots it that takes native code of its host: code with this digest, and no other.

    It stands on the command line, so that whatever measures the image measures the code.
    """
    cmdline = measurement.with_code(image.cmdline, code)
    part = Part(measurement.sha256(cmdline.encode()), len(cmdline))
    digests = {name: getattr(image.record, name).sha256 for name in PARTS} | {CMDLINE: part.sha256}
    record = msgspec.structs.replace(image.record, cmdline=part, digest=measurement.image_digest(**digests))
    return Image(image.folder, record, cmdline)


def look(folder: Path) -> Image:
    """An image, by its record and the sizes of its parts, which are not read. Raises MissingImage, WrongImage."""
    image = read(folder)
    for name in (KERNEL, INITRD):
        expected = getattr(image.record, name).size
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise WrongImage(f"{folder / name}: {error.strerror}", parts=(name,), hint=_ANEW) from error
        if size != expected:
            told = f"{folder / name} has {size:,} bytes, and {expected:,} were recorded"
            raise WrongImage(told, parts=(name,), hint=_ANEW)
    return image


def check(folder: Path) -> Image:
    """An image whose parts were read and have the digests of its record. Raises MissingImage, WrongImage."""
    image = read(folder)
    require_recorded(image, {name: digest_of(folder / name) for name in (KERNEL, INITRD)})
    return image


def require_recorded(image: Image, found: Mapping[str, str]) -> None:
    """That kernel and initramfs were found to have the recorded digests, and the command line has its own.

    Raises WrongImage.
    """
    digests = {**found, CMDLINE: measurement.sha256(image.cmdline.encode())}  # as it was read, for that is what boots
    expected = {name: getattr(image.record, name).sha256 for name in PARTS}
    differing = tuple(name for name in PARTS if digests[name] != expected[name])
    if differing:
        told = "; ".join(f"{name} is {digests[name]}, and {expected[name]} was recorded" for name in differing)
        raise WrongImage(f"{image.folder}: {told}", parts=differing, hint=_ANEW)


def require_same(image: Image, again: Image) -> None:
    """That an image is the one which was made again from its inputs. Raises WrongImage with what differs."""
    names = (KERNEL, INITRD, CMDLINE, RECORD, SBOM)
    parts = tuple(name for name in names if digest_of(image.folder / name) != digest_of(again.folder / name))
    if not parts:
        return
    before, after = ({file.path: file.sha256 for file in one.record.files} for one in (image, again))
    files = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    told = f" (in it: {', '.join(files[:_TOLD])}{' and more' if len(files) > _TOLD else ''})" if files else ""
    raise WrongImage(
        f"{image.folder} differs from what its inputs make in: {', '.join(parts)}{told}",
        parts=(*parts, *files),
        hint="was it made by another version of this program? Then it cannot be compared here",
    )


def content(path: Path) -> bytes:
    """A file of an image, which may come from elsewhere. Raises OSError, WrongImage."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a pipe nobody need be at the other end
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise WrongImage(f"{path}: not a file", parts=(path.name,))
        found = file.read(_LIMIT + 1)
    if len(found) > _LIMIT:
        raise WrongImage(f"{path}: larger than {_LIMIT} bytes", parts=(path.name,))
    return found


def digest_of(path: Path) -> str:
    """The digest of a file of an image. Raises WrongImage."""
    try:
        return measurement.sha256(content(path))
    except OSError as error:
        raise WrongImage(f"{path}: {error.strerror}", parts=(path.name,), hint="build the image anew") from error
