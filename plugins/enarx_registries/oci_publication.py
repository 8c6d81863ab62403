"""One package on its way into one repository: everything in an order in which nothing refers to what is not there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import package_tree, reference
from enarx_deploy.errors import NotPublished, PackageError, RegistryError
from enarx_deploy.models import Package, PackageFile
from enarx_deploy.protocols import Attachment, Progress
from enarx_deploy.reference import Reference
from enarx_registries import oci_forms, oci_tar
from enarx_registries.oci_forms import Blob, Descriptor, Manifest
from enarx_registries.transfer import chunks_of, from_offset, told

if TYPE_CHECKING:
    from enarx_registries.oci_repository import Content, Repository

PACKAGE_TAG = "package-"
IMAGE_SUFFIX = "-oci"


def package_tag(digest: str) -> str:
    """The tag under which a package is found by its digest."""
    return f"{PACKAGE_TAG}{digest.removeprefix('sha256:')}"


def tag_of(named: Reference) -> str:
    """A reference's tag as a registry can have it: the `+` of a version is not allowed there."""
    return named.tag.replace("+", "_")


class Publication:
    """A package, the repository it is sent to, and the date of its sources (seconds since 1970)."""

    def __init__(
        self, repository: Repository, named: Reference, package: Package, created: int, progress: Progress
    ) -> None:
        self._repository = repository
        self._named = named
        self._package = package
        self._created = created
        self._progress = progress
        self._module = next(file for file in package.files if file.path == package_tree.MODULE)
        self._others = [file for file in package.files if file is not self._module]

    def run(self, attachments: Sequence[Attachment]) -> None:
        """Blobs, then what refers to them, then the tags. Raises RegistryError, PackageError."""
        self._require_free()
        self._created = self._date_there()
        module = self._send_module()
        tree = self._send_tar(oci_forms.TREE, "the other files", self._others)
        config = oci_forms.module_config(module, self._created)
        listing = oci_forms.listing(self._package)
        for blob in (config, listing, oci_forms.EMPTY_BLOB):
            self._repository.put_bytes(blob)
        artifact = oci_forms.artifact(self._package, module, tree, listing.descriptor, config, self._created)
        self._repository.put_manifest(artifact)
        self._refer(artifact.descriptor, [tree, listing.descriptor], attachments)
        self._repository.put_manifest(artifact, package_tag(self._package.digest))
        if self._named.tag:
            image = self._send_image(tree)
            self._require_free()
            self._set_tags(artifact, image)

    def _date_there(self) -> int:
        """The date of this package as it is published here already: the same package has one manifest."""
        with contextlib.suppress(NotPublished, PackageError):
            manifest, _ = self._repository.manifest(package_tag(self._package.digest))
            if manifest.annotations.get(oci_forms.PACKAGE_DIGEST) == self._package.digest:
                return oci_forms.seconds(manifest.annotations.get(oci_forms.CREATED, ""), self._created)
        return self._created

    def _require_free(self) -> None:
        """A version, once published, names one package for ever, also where that was yanked."""
        if not reference.is_version(self._named.tag):
            return
        with contextlib.suppress(NotPublished):
            manifest, _ = self._repository.manifest(tag_of(self._named))
            self._require_same(manifest, "a version names one package for ever")

    def _require_same(self, manifest: Manifest, why: str) -> None:
        there = manifest.annotations.get(oci_forms.PACKAGE_DIGEST, "something else")
        if there != self._package.digest:
            raise RegistryError(
                f"{self._named.place} is {there!r}, and not {self._package.digest}: {why}",
                hint="publish it as another version",
            )

    def _set_tags(self, artifact: Blob, image: Blob) -> None:
        """Set the tags, and look whose they are: a registry does not compare before it sets, and others publish, too.

        Of two who found a version free, the one that was replaced learns it here, unless the other sets the tag still
        later; and the other sets both tags.
        """
        tag = tag_of(self._named)
        self._repository.put_manifest(image, tag + IMAGE_SUFFIX)
        self._repository.put_manifest(artifact, tag)
        with contextlib.suppress(NotPublished):  # some registries take a while to show a new tag
            manifest, there = self._repository.manifest(tag)
            if there.digest == artifact.descriptor.digest:
                self._keep_image(tag + IMAGE_SUFFIX, image)
            elif reference.is_version(self._named.tag):
                self._require_same(manifest, "another publisher was there at the same time, and has the version")

    def _keep_image(self, tag: str, image: Blob) -> None:
        _, there = self._repository.manifest(tag)
        if there.digest != image.descriptor.digest:
            self._repository.put_manifest(image, tag)

    def _send_module(self) -> Descriptor:
        file = self._module
        module = Descriptor(oci_forms.WASM, file.sha256, file.size, annotations={oci_forms.TITLE: package_tree.MODULE})
        self._send(module, "the module", partial(chunks_of, self._path(file)))
        return module

    def _send_tar(
        self, media_type: str, what: str, files: Sequence[PackageFile], *, executable: bool = False
    ) -> Descriptor:
        """Send an archive of these files, which is made twice: once for its digest, once to be sent."""
        members = [(file.path, file.size, partial(chunks_of, self._path(file))) for file in files]
        digest, size = hashlib.sha256(), 0
        self._progress(f"hashing {what}")
        for chunk in oci_tar.write(members, executable=executable):
            digest.update(chunk)
            size += len(chunk)
        tar = Descriptor(media_type, f"sha256:{digest.hexdigest()}", size, annotations={oci_forms.TITLE: "tree.tar"})
        self._send(tar, what, lambda offset: from_offset(oci_tar.write(members, executable=executable), offset))
        return tar

    def _send(self, blob: Descriptor, what: str, content: Content) -> None:
        self._repository.put_blob(
            blob, lambda offset: told(content(offset), f"sending {what}", blob.size, self._progress)
        )

    def _refer(self, artifact: Descriptor, tree: list[Descriptor], attachments: Sequence[Attachment]) -> None:
        """Let everything else refer to the artifact."""
        made = []
        listed = True
        date = {oci_forms.CREATED: oci_forms.date(self._created)}
        for layers, kind in chain([(tree, "")], self._send_manifest(), self._send_attachments(attachments)):
            mark = {oci_forms.ATTACHMENT: kind} if kind else {}
            blob = oci_forms.referrer(layers[0].media_type, layers, artifact, date | mark)
            listed = self._repository.put_manifest(blob) and listed
            made.append((blob, layers[0].media_type))
        if not listed:
            self._repository.refer(artifact.digest, made)

    def _send_manifest(self) -> Iterator[tuple[list[Descriptor], str]]:
        if any(file.path == package_tree.MANIFEST for file in self._others):
            text = (Path(self._package.root) / package_tree.MANIFEST).read_bytes()
            yield [self._put(oci_forms.blob(oci_forms.ENARX_TOML, text, package_tree.MANIFEST))], ""

    def _send_attachments(self, attachments: Sequence[Attachment]) -> Iterator[tuple[list[Descriptor], str]]:
        for attachment in attachments:
            self._progress(f"attaching {attachment.kind}")
            title = oci_forms.title(attachment)
            yield [self._put(oci_forms.blob(attachment.media_type, attachment.content, title))], attachment.kind

    def _put(self, blob: Blob) -> Descriptor:
        self._repository.put_bytes(blob)
        return blob.descriptor

    def _send_image(self, tree: Descriptor) -> Blob:
        """The same files as an image, all but its manifest. Its second layer is the archive that the artifact has."""
        module = self._send_tar(oci_forms.IMAGE_LAYER, "the module for the image", [self._module], executable=True)
        layers = [Descriptor(oci_forms.IMAGE_LAYER, layer.digest, layer.size) for layer in (module, tree)]
        config, image = oci_forms.image(layers, [layer.digest for layer in layers], self._created)
        self._repository.put_bytes(config)
        return image

    def _path(self, file: PackageFile) -> Path:
        return Path(self._package.root) / file.path
