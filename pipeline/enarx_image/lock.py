"""New pins: what the archive has now, and what is installed here. Whoever makes them vouches for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from enarx_image import tree
from enarx_image.archive import Archive, find
from enarx_image.errors import MissingInput
from enarx_image.pins import Installed, Package, Pins, dump

_KERNEL = "linux-image-cloud-amd64"
"""The package that depends on the newest kernel of its release, whose own name has its version."""
_COMMENT = (
    "What a Keep's image is made of. `enarx-deploy image lock` writes such a table anew; what goes into the image of",
    "each is in contents.toml.",
)


def renew(old: Pins, archive: Archive, kept: Path, progress: Callable[[str], None]) -> Pins:
    """The same packages in the versions that the archive has, downloaded to `kept`. Raises MissingInput."""
    wanted = []
    for package in old.packages:
        name = _newest_kernel(archive) if package.use == "kernel" else package.name
        wanted.append(msgspec.structs.replace(package, name=name, version=archive.candidate(name)))
        progress(f"{name} {wanted[-1].version}")
    absent = [package for package in wanted if find(package, kept) is None]
    if absent:
        archive.fetch(absent, kept)
    packages = tuple(_pinned(package, kept) for package in wanted)
    return Pins(suite=old.suite, packages=packages, installed=tuple(_installed(old)))


def written(pins: Pins) -> bytes:
    """A table of pins as its file says it."""
    return dump(pins, _COMMENT)


def _pinned(package: Package, kept: Path) -> Package:
    path = find(package, kept)
    if path is None:
        raise MissingInput(f"apt did not download {package.name}", hint="try again")
    content = path.read_bytes()
    return msgspec.structs.replace(package, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _newest_kernel(archive: Archive) -> str:
    archive.candidate(_KERNEL)  # else an archive that cannot be reached would be one without kernels
    found = [name for name in archive.depends(_KERNEL) if name.startswith("linux-image-")]
    if not found:
        raise MissingInput(f"the archive's {_KERNEL} depends on no kernel", hint="try --mirror URL")
    return found[0]


def _installed(old: Pins) -> Iterator[Installed]:
    for pin in old.installed:
        digest = tree.digest_of(tree.installed(pin.name))
        yield Installed(name=pin.name, version=metadata.version(pin.name), sha256=digest)
