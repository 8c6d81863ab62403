"""An OCI registry: `oci://HOST/REPOSITORY:TAG`, and `oci+http://` where there is no TLS.

What lies there is described in `oci_forms`. The package is rebuilt on fetching, and only its own digest counts: what an
annotation says of it is a claim. A digest in a reference is the package's; the registry finds it by the tag
`package-HEX`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import package_tree, reference
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, Published
from enarx_deploy.protocols import ATTACHMENT_LIMIT, ATTACHMENTS_LIMIT, Attachment, Progress, Registry, silent
from enarx_deploy.reference import Reference
from enarx_drawbridge.directory_form import Entry, is_entry
from enarx_registries import oci_cosign, oci_forms, oci_tar
from enarx_registries.oci_forms import Descriptor, Manifest
from enarx_registries.oci_publication import IMAGE_SUFFIX, PACKAGE_TAG, Publication, package_tag, tag_of
from enarx_registries.transfer import told

if TYPE_CHECKING:
    from enarx_registries.oci_repository import Repository

_INTERNAL_TAG = re.compile(rf"{PACKAGE_TAG}[0-9a-f]{{64}}|sha256-[0-9a-f]{{64}}.*|.*{IMAGE_SUFFIX}")
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERRERS_READ = 256
_REASON_LIMIT = 4096
_LISTING_LIMIT = 16 << 20  # bytes; of as many files as a package may have, with long paths


class Oci:
    """Sends the blobs first and sets the tag last, so that no one ever sees a part of a package."""

    name = "oci"
    schemes: tuple[str, ...] = reference.schemes("oci")

    def publish(
        self,
        package: Package,
        reference: str,
        attachments: Sequence[Attachment] = (),
        progress: Progress = silent,
        created: int = 0,
    ) -> str:
        named = _parse(reference)
        named.require(package.digest)
        for attachment in attachments:
            if len(attachment.content) > ATTACHMENT_LIMIT:
                raise PackageError(f"the {attachment.kind} is over {ATTACHMENT_LIMIT:,} bytes", hint="attach less")
        with opened(named) as repository:
            Publication(repository, named, package, created, progress).run(attachments)
        return str(named.pinned(package.digest))

    def fetch(self, reference: str, into: Path, progress: Progress = silent) -> Package:
        named = _parse(reference)
        if named.digest and (kept := package_tree.kept(into, named.digest)):
            return kept
        with opened(named) as repository:
            manifest, _ = _manifest(repository, named)
            if manifest.kind == oci_forms.YANKED:
                reason = _printable(manifest.annotations.get(oci_forms.REASON, ""))
                pinned = named.pinned(_claimed(manifest, named))
                raise NotPublished(f"{named.place} was yanked: {reason}", hint=f"it is still {pinned}, if you must")
            digest = _claimed(manifest, named)
            if kept := package_tree.kept(into, digest):
                return kept
            files = _files(repository, manifest, named, progress)
            return package_tree.lay_out(files, into, digest, named.place, _listed(repository, manifest, named))

    def resolve(self, reference: str) -> Published:
        named = _parse(reference)
        with opened(named) as repository:
            return _published(repository, named)

    def attachments(self, reference: str) -> list[Attachment]:
        named = _parse(reference)
        with opened(named) as repository:
            _, descriptor = _manifest(repository, named)
            found = _attachments(repository, descriptor)
            return [attachment for attachment, _ in zip(found, range(ATTACHMENTS_LIMIT), strict=False)]

    def signing_payload(self, reference: str) -> bytes:
        named = _parse(reference)
        with opened(named) as repository:
            _, descriptor = _manifest(repository, named)
            return oci_cosign.payload(f"{named.host}/{named.path}", descriptor.digest)

    def add_signature(self, reference: str, payload: bytes, signature: bytes) -> None:
        named = _parse(reference)
        with opened(named) as repository:
            _, descriptor = _manifest(repository, named)
            oci_cosign.add(repository, descriptor.digest, payload, signature)

    def attestation_subject(self, reference: str) -> tuple[str, str]:
        named = _parse(reference)
        with opened(named) as repository:
            _, descriptor = _manifest(repository, named)
            return f"{named.host}/{named.path}", descriptor.digest

    def add_attestation(self, reference: str, predicate_type: str, envelope: bytes) -> None:
        named = _parse(reference)
        with opened(named) as repository:
            _, descriptor = _manifest(repository, named)
            oci_cosign.attest(repository, descriptor.digest, predicate_type, envelope)

    def tags(self, reference: str) -> list[str]:
        named = _parse(reference)
        with opened(named) as repository:
            return _versions(repository)

    def search(self, place: str, words: Sequence[str]) -> Iterator[Published]:
        named = reference.parse(place)
        for path in _repositories(named):
            if all(word in path for word in words):
                yield from _in_repository(Reference(named.scheme, named.host, path, "", ""))

    def yank(self, reference: str, reason: str) -> None:
        named = _parse(reference)
        if not named.tag:
            raise UsageError(f"{reference} does not say which tag", hint=f"write {named.place}:TAG")
        with opened(named) as repository:
            manifest, descriptor = repository.manifest(tag_of(named))
            _claimed(manifest, named)
            again = manifest.kind == oci_forms.YANKED and manifest.subject
            mark = oci_forms.yanked_mark(manifest, again or descriptor, reason[:_REASON_LIMIT])
            repository.put_bytes(oci_forms.EMPTY_BLOB)
            for tag in (tag_of(named), tag_of(named) + IMAGE_SUFFIX):
                repository.put_manifest(mark, tag)


def _parse(text: str) -> Reference:
    named = reference.parse(text)
    if not _REPOSITORY.fullmatch(named.path):
        raise UsageError(
            f"{text}: {named.path!a} is not a repository",
            hint="write oci://HOST/REPOSITORY:TAG; a repository is of lower-case letters, digits and . _ - /",
        )
    if named.tag and not _TAG.fullmatch(named.tag):
        raise UsageError(f"{text}: {named.tag!a} is not a tag", hint="use letters, digits and . _ -, at most 128")
    return named


@contextlib.contextmanager
def opened(named: Reference) -> Iterator[Repository]:
    """A repository, over a connection of its own."""
    from enarx_registries import oci_http
    from enarx_registries.oci_repository import Repository

    with oci_http.connected(named) as connection:
        yield Repository(connection, named.place)


def _manifest(repository: Repository, named: Reference) -> tuple[Manifest, Descriptor]:
    """The manifest of the package that a reference names, or the mark of its yank."""
    if not named.digest and not named.tag:
        raise UsageError(f"{named} does not say which package", hint=f"write {named}:TAG or {named}@sha256:HEX")
    if not named.digest:
        return repository.manifest(tag_of(named))
    try:
        manifest, descriptor = repository.manifest(package_tag(named.digest))
    except NotPublished as error:
        raise _not_there(repository, named) from error
    if _claimed(manifest, named) != named.digest:
        raise PackageError(
            f"{named.place}: the tag {package_tag(named.digest)} names another package",
            hint="somebody moved it: publish the package again",
        )
    return manifest, descriptor


def _not_there(repository: Repository, named: Reference) -> NotPublished:
    hint = f"`enarx-deploy search {named.scheme}://{named.host}/{named.path}` lists those that it has"
    with contextlib.suppress(NotPublished, PackageError):
        manifest, _ = repository.manifest(named.digest)
        hint = f"this is the digest of an OCI manifest; the package's is {_claimed(manifest, named)}"
    return NotPublished(f"{named.place} has no package {named.digest}", hint=hint)


def _claimed(manifest: Manifest, named: Reference) -> str:
    """The digest of the package that this is said to be."""
    claimed = manifest.annotations.get(oci_forms.PACKAGE_DIGEST, "")
    if not _DIGEST.fullmatch(claimed):
        raise PackageError(
            f"{named.place} is not a package of enarx-deploy, but {_printable(manifest.kind)}",
            hint="get the module with the tool that it was made for, and package it with an Enarx.toml",
        )
    return claimed


def _files(
    repository: Repository, manifest: Manifest, named: Reference, progress: Progress
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Every file of a package as it comes. The digest of the tree that they make is checked, and so no blob's own."""
    tree = manifest.annotations.get(oci_forms.PACKAGE_TREE, "")
    if [layer.media_type for layer in manifest.layers] != [oci_forms.WASM] or not _DIGEST.fullmatch(tree):
        raise PackageError(f"{named.place} is not a package of enarx-deploy", hint="publish it again")
    (module,) = manifest.layers
    yield (
        package_tree.MODULE,
        told(repository.unchecked_blob(module.digest), "fetching the module", module.size, progress),
    )
    archive = told(repository.unchecked_blob(tree), "fetching the other files", 0, progress)
    yield from oci_tar.read(archive, named.place)


def _listed(repository: Repository, manifest: Manifest, named: Reference) -> dict[str, Entry] | None:
    """What is listed of every file; None where a list of all of their digests is not there, or is none."""
    digest = manifest.annotations.get(oci_forms.PACKAGE_LISTING, "")
    if not _DIGEST.fullmatch(digest):
        return None
    listing = oci_forms.read_listing(b"".join(repository.blob(digest, _LISTING_LIMIT)), f"{named.place}: the listing")
    entries = {path: Entry(one.digest, one.length, one.type) for path, one in listing.items()}
    return entries if all(map(is_entry, entries.values())) else None


def _published(repository: Repository, named: Reference) -> Published:
    manifest, descriptor = _manifest(repository, named)
    digest = _claimed(manifest, named)
    size = manifest.annotations.get(oci_forms.PACKAGE_SIZE, "")
    return Published(
        reference=str(named.pinned(digest)),
        digest=digest,
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0,
        tags=[named.tag] if named.tag else [],
        yanked=_yanked(repository, named, manifest, digest),
        details={"manifest": descriptor.digest},
    )


def _yanked(repository: Repository, named: Reference, manifest: Manifest, digest: str) -> str:
    """Why a package was withdrawn. One that is asked for by its digest was, if the tag with it names the mark."""
    if manifest.kind != oci_forms.YANKED and named.tag:
        with contextlib.suppress(NotPublished):
            manifest, _ = repository.manifest(tag_of(named))
    if manifest.kind != oci_forms.YANKED or manifest.annotations.get(oci_forms.PACKAGE_DIGEST) != digest:
        return ""
    return _printable(manifest.annotations.get(oci_forms.REASON, "")) or "no reason given"


def _attachments(repository: Repository, about: Descriptor) -> Iterator[Attachment]:
    """What refers to a manifest and is an attachment. Each is opened: what a list says of it may be anything."""
    for entry in repository.referrers(about.digest)[:_REFERRERS_READ]:
        with contextlib.suppress(NotPublished, PackageError):  # what somebody left half, or damaged, hides no other
            manifest, _ = repository.manifest(entry.digest)
            kind = oci_forms.attachment_kind(manifest)
            if kind and manifest.subject and manifest.subject.digest == about.digest and len(manifest.layers) == 1:
                content = b"".join(repository.blob(manifest.layers[0].digest, ATTACHMENT_LIMIT))
                yield Attachment(kind, manifest.layers[0].media_type, content)


def _versions(repository: Repository) -> list[str]:
    return [tag for tag in repository.tags() if not _INTERNAL_TAG.fullmatch(tag)]


def _repositories(named: Reference) -> Iterator[str]:
    """The repository of this name, and those below it."""
    found = False
    with opened(named) as repository:
        if named.path:
            with contextlib.suppress(NotPublished):
                found = bool(repository.tags())
                yield named.path
        try:
            paths = repository.repositories()
        except RegistryError:
            if found:  # many registries tell nobody what they have, and this was asked for by name
                return
            raise
    yield from (path for path in paths if path.startswith(f"{named.path}/" if named.path else ""))


def _in_repository(named: Reference) -> Iterator[Published]:
    with opened(named) as repository:
        for tag in _versions(repository):
            with contextlib.suppress(NotPublished, PackageError):  # what others put there is no package of ours
                yield _published(repository, Reference(named.scheme, named.host, named.path, tag, ""))


def _printable(text: str) -> str:
    """One line without control characters: it comes from another machine and goes to a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:500]


@hookimpl
def register_registries() -> Iterable[Registry]:
    return [Oci()]
