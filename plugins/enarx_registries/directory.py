"""A directory as a registry: each package in it is a directory named by its digest.

References: `dir:PATH` or `file://PATH` to publish to, and the same with `@sha256:HEX` to fetch. A reference without a
digest may also name one package's own directory, as in Enarx's `deploy file:///DIR`. There are no tags.

    HEX/               the tree
    HEX.attachments    what is attached to it (`package_attachments`)
    HEX.yanked         why it was withdrawn
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from enarx_deploy import package_attachments, package_tree, plain_files, reference, staging
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, Published
from enarx_deploy.protocols import (
    Attachment,
    Progress,
    Registry,
    silent,
)
from enarx_deploy.reference import Reference

_HEX = re.compile(r"[0-9a-f]{64}")
_REASON_LIMIT = 4096


class Directory:
    """Publishes by a rename and fetches by the digest, so that no one ever sees a part of a package."""

    name = "directory"
    schemes: tuple[str, ...] = ("dir:", "file://")

    def publish(
        self,
        package: Package,
        reference: str,
        attachments: Sequence[Attachment] = (),
        progress: Progress = silent,
        created: int = 0,  # noqa: ARG002  # a directory keeps no dates
    ) -> str:
        named = _parse(reference)
        named.require(package.digest)
        store = _directory(named)
        with _refusals(store):
            for attachment in attachments:
                progress(f"attaching {attachment.kind}")
                package_attachments.add(store, package.digest, attachment)
        progress(f"copying {len(package.files)} files")
        stored = package_tree.copy(Path(package.root), store, package.digest)
        with _refusals(store):
            _beside(store, stored.digest, "yanked").unlink(missing_ok=True)
        return str(named.pinned(stored.digest))

    def fetch(self, reference: str, into: Path, progress: Progress = silent) -> Package:
        named = _parse(reference)
        tree = _tree(named)
        progress(f"copying {tree}")
        return package_tree.copy(tree, into, named.digest)

    def resolve(self, reference: str) -> Published:
        named = _parse(reference)
        return _published(named, package_tree.read(_tree(named), named.digest))

    def attachments(self, reference: str) -> list[Attachment]:
        named = _parse(reference)
        _tree(named)
        store = _directory(named)
        with _refusals(store):
            return package_attachments.load(store, named.digest) if named.digest else []

    def tags(self, reference: str) -> list[str]:
        _parse(reference)
        return []

    def search(self, place: str, words: Sequence[str]) -> Iterator[Published]:
        named = _parse(place)
        store = _directory(named)
        with _refusals(store):
            names = sorted(path.name for path in store.iterdir() if _HEX.fullmatch(path.name) and path.is_dir())
        for name in names:
            if all(word in f"sha256:{name}" for word in words):
                with contextlib.suppress(PackageError):  # what is damaged hides no other
                    yield self.resolve(str(named.pinned(f"sha256:{name}")))

    def yank(self, reference: str, reason: str) -> None:
        named = _parse(reference)
        if not named.digest:
            raise UsageError(f"{reference} does not say which package", hint=f"write {named.place}@sha256:HEX")
        _tree(named)
        store = _directory(named)
        with _refusals(store):
            _write(store, _beside(store, named.digest, "yanked"), reason[:_REASON_LIMIT].encode())


def _parse(text: str) -> Reference:
    return reference.parse(text)


def _directory(named: Reference) -> Path:
    if not named.place.startswith("file://"):
        return Path(named.place.removeprefix("dir:")).absolute()
    url = urlsplit(named.place)
    if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
        raise UsageError(f"{named.place} does not name a directory of this machine", hint="write file:///PATH")
    return Path(unquote(url.path))


def _tree(named: Reference) -> Path:
    """The directory of the package that is named. Raises NotPublished."""
    directory = _directory(named)
    if not named.digest:
        if (directory / package_tree.MODULE).exists():
            return directory
        raise PackageError(
            f"{directory} is no package, and {named.place} does not say which one in it",
            hint=f"say which: {named.place}@sha256:HEX, as `publish` printed it",
        )
    tree = directory / named.digest.removeprefix("sha256:")
    if not tree.is_symlink() and not tree.exists():
        raise NotPublished(
            f"{directory} has no package {named.digest}",
            hint=f"`enarx-deploy search dir:{directory}` lists those that it has",
        )
    return tree


def _published(named: Reference, package: Package) -> Published:
    mark = _beside(_directory(named), package.digest, "yanked")
    yanked = ""
    if named.digest and os.path.lexists(mark):
        yanked = plain_files.content(mark, 4 * _REASON_LIMIT).decode(errors="replace") or "no reason given"
    return Published(
        reference=str(named.pinned(package.digest)), digest=package.digest, size=package.size, yanked=yanked
    )


def _beside(store: Path, digest: str, suffix: str) -> Path:
    return store / f"{digest.removeprefix('sha256:')}.{suffix}"


def _write(store: Path, path: Path, data: bytes) -> None:
    with staging.directory(store) as new:
        (new / path.name).write_bytes(data)
        (new / path.name).replace(path)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What the system refuses, as an error of the registry."""
    try:
        yield
    except OSError as error:
        raise RegistryError(
            f"{error.filename or path}: {error.strerror}", hint="is it there, and may you read and write it?"
        ) from error


@hookimpl
def register_registries() -> Iterable[Registry]:
    return [Directory()]
