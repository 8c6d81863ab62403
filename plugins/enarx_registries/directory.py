"""A directory as a registry: each package in it is a directory named by its digest.

References: `dir:PATH` or `file://PATH` to publish to, and the same with `@sha256:HEX` to fetch. A reference without a
digest may also name one package's own directory, as in Enarx's `deploy file:///DIR`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from enarx_deploy import package_tree
from enarx_deploy.errors import PackageError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package
from enarx_deploy.protocols import Registry

_REFERENCE = re.compile(r"(?P<place>.+?)(@(?P<digest>sha256:[0-9a-f]{64}))?", re.DOTALL)


class Directory:
    """Publishes by a rename and fetches by the digest, so that no one ever sees a part of a package."""

    name = "directory"
    schemes: tuple[str, ...] = ("dir:", "file://")

    def publish(self, package: Package, reference: str) -> str:
        place, digest = _parse(reference)
        if digest and digest != package.digest:
            raise UsageError(f"{reference} names another package than {package.digest}", hint="leave the digest away")
        stored = package_tree.copy(Path(package.root), _directory(place), package.digest)
        return f"{place}@{stored.digest}"

    def fetch(self, reference: str, into: Path) -> Package:
        place, digest = _parse(reference)
        directory = _directory(place)
        if digest:
            return package_tree.copy(directory / digest.removeprefix("sha256:"), into, digest)
        if not (directory / package_tree.MODULE).exists():
            raise PackageError(
                f"{directory} is no package, and {reference} does not say which one in it",
                hint=f"say which: {place}@sha256:HEX, as `publish` printed it",
            )
        return package_tree.copy(directory, into)


def _parse(reference: str) -> tuple[str, str]:
    """The place and the digest ("" if none) of a reference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise UsageError(f"{reference!r} is not a reference", hint="write dir:PATH or dir:PATH@sha256:HEX")
    return found["place"], found["digest"] or ""


def _directory(place: str) -> Path:
    if not place.startswith("file://"):
        return Path(place.removeprefix("dir:")).absolute()
    url = urlsplit(place)
    if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
        raise UsageError(f"{place} does not name a directory of this machine", hint="write file:///PATH")
    return Path(unquote(url.path))


@hookimpl
def register_registries() -> Iterable[Registry]:
    return [Directory()]
