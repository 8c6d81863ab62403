"""From pinned inputs to an image: the same inputs make the same bytes, anywhere and at any time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import stat
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import msgspec

from enarx_image import archive, cpio, image, measurement, sbom, tree
from enarx_image.contents import FILE, contents
from enarx_image.errors import ImageError, MissingImage
from enarx_image.pins import Pins
from enarx_image.unpacked import Unpacked

Progress = Callable[[str], None]
FILES = {image.KERNEL, image.INITRD, image.CMDLINE, image.RECORD, image.SBOM, image.SIGNATURE}
"""What an image's directory holds."""
_KEPT = 4


def inputs_digest(pins: Pins) -> str:
    """The digest of all that an image is made from, so that one that is there need not be made again."""
    digest = hashlib.sha256(msgspec.json.encode(pins, order="deterministic"))
    for name in contents().installed:
        digest.update(bytes.fromhex(tree.digest_of(tree.installed(name))))
    own = Path(__file__).parent
    builder = {path.name: path.read_bytes() for path in own.glob("*.py")} | {FILE.name: FILE.read_bytes()}
    digest.update(bytes.fromhex(tree.digest_of(builder)))
    return f"sha256:{digest.hexdigest()}"


def place(cache: Path, pins: Pins) -> Path:
    """Where the image of these inputs is kept, made or not."""
    return cache / "images" / inputs_digest(pins).removeprefix("sha256:")


def find(cache: Path, pins: Pins) -> image.Image:
    """The image of these inputs, whose parts are not read. Raises MissingImage, WrongImage."""
    folder = place(cache, pins)
    if not folder.is_dir():
        raise MissingImage("there is no image for this version yet", hint="make it: `enarx-deploy image build`")
    return image.look(folder)


def build(folder: Path, pins: Pins, debs: dict[str, bytes], progress: Progress) -> image.Image:
    """Make an image in `folder`, which appears whole or not at all. `debs` were checked. Raises ImageError."""
    require_replaceable(folder)
    for pin in pins.installed:
        tree.check_installed(pin)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".image.") as temporary:
        made = Path(temporary, "image")
        made.mkdir()
        _make(made, Path(temporary), pins, debs, progress)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(Path(temporary, "old"))
        _put(made, folder)
    return image.check(folder)


def require_replaceable(folder: Path) -> None:
    """That nothing is lost where an image will be. Raises ImageError."""
    if not folder.exists():
        return
    strangers = sorted({path.name for path in folder.iterdir()} - FILES) if folder.is_dir() else [folder.name]
    if strangers:
        raise ImageError(
            f"{folder} holds what is no image: {', '.join(strangers[:3])}",
            hint="move that away, or name a directory that is not there yet",
        )


def _put(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # somebody else has made it meanwhile, the same
            raise


def forget_old(cache: Path) -> None:
    """Keep the newest images of the cache: each version of this program has one of its own."""
    there = sorted((cache / "images").iterdir(), key=lambda path: path.stat().st_mtime)
    for old in there[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _make(made: Path, temporary: Path, pins: Pins, debs: dict[str, bytes], progress: Progress) -> None:
    unpacked = Unpacked(temporary / "root")
    unpacked.root.mkdir()
    for package in pins.packages:
        progress(f"unpack {package.name} {package.version}")
        unpacked.add(package, debs[package.name])
    progress("lay out the root file system")
    found = tree.entries(unpacked)
    progress("compress it")
    kernel = unpacked.find("boot/vmlinuz-*")
    parts = {
        image.KERNEL: unpacked.read(kernel),
        image.INITRD: unpacked.compress(cpio.archive(found)),
        image.CMDLINE: contents().cmdline.strip().encode("ascii"),
    }
    for name, content in parts.items():
        _write(made / name, content)
    record = _record(pins, parts, kernel.partition("vmlinuz-")[2], found)
    _write(made / image.SBOM, sbom.document(record))
    _write(made / image.RECORD, msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=1))


def _record(pins: Pins, parts: dict[str, bytes], kernel_version: str, found: list[cpio.Entry]) -> image.Record:
    described = {name: image.Part(measurement.sha256(content), len(content)) for name, content in parts.items()}
    files = (
        image.File(entry.path, len(entry.content), measurement.sha256(entry.content), entry.origin)
        for entry in sorted(found)
        if stat.S_ISREG(entry.mode)
    )
    return image.Record(
        digest=measurement.image_digest(**{name: part.sha256 for name, part in described.items()}),
        kernel_version=kernel_version,
        inputs=inputs_digest(pins),
        pins=pins,
        distributions={name: metadata.version(name) for name in contents().installed},
        files=tuple(files),
        kernel=described[image.KERNEL],
        initrd=described[image.INITRD],
        cmdline=described[image.CMDLINE],
    )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)


def obtain(pins: Pins, cache: Path, given: Path | None, mirror: str, progress: Progress) -> dict[str, bytes]:
    """The packages, from `given` or else the cache and the archive. Raises MissingInput, WrongInput."""
    kept = cache / "debs"
    kept.mkdir(mode=0o700, exist_ok=True)
    progress("look for the pinned packages")
    source = archive.Archive(cache / "apt", pins.suite, mirror)
    return archive.obtain(pins.packages, kept, source, given)
