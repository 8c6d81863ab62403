"""Images for container runtimes, sent to a repository: layers that are made on the way, above those of a base image.

The manifest depends on the layers and the configuration alone, so that the same image has the same digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from enarx_deploy import reference
from enarx_deploy.errors import PackageError, UsageError
from enarx_deploy.protocols import Progress
from enarx_registries import oci_forms
from enarx_registries.oci import opened
from enarx_registries.oci_forms import Blob, Descriptor, Manifest
from enarx_registries.transfer import from_offset, told

if TYPE_CHECKING:
    from enarx_registries.oci_repository import Repository

_CONFIG_LIMIT = 1 << 20
_NOT_COPIED = ("history", "rootfs", "config")


class Layer(Protocol):
    """A tar, which is not compressed."""

    @property
    def digest(self) -> str:
        """`sha256:HEX`."""

    @property
    def size(self) -> int:
        """In bytes."""

    def chunks(self) -> Iterator[bytes]:
        """The content, each time from the beginning."""


class Base(msgspec.Struct, frozen=True):
    """An image to build on: its layers and its configuration."""

    layers: list[Descriptor]
    configuration: dict[str, Any]


def push(into: str, layers: Sequence[Layer], configuration: Mapping[str, Any], base: str, progress: Progress) -> str:
    """Store an image; returns HOST/REPOSITORY@sha256:HEX, by which a container runtime pulls it.

    `configuration` is laid over that of `base`, a reference with the digest of an image's manifest, or "".
    Raises RegistryError, PackageError, UsageError.
    """
    named = reference.parse(into)
    with opened(named) as repository:
        below = _copied(base, repository, progress) if base else Base([], {})
        for layer in layers:
            descriptor = Descriptor(oci_forms.IMAGE_LAYER, layer.digest, layer.size)
            repository.put_blob(descriptor, partial(_sent, layer, progress))
        config, manifest = _forms(below, layers, configuration)
        repository.put_bytes(config)
        repository.put_manifest(manifest)
    return f"{named.host}/{named.path}@{manifest.descriptor.digest}"


def _forms(below: Base, layers: Sequence[Layer], configuration: Mapping[str, Any]) -> tuple[Blob, Blob]:
    own = {key: value for key, value in below.configuration.items() if key not in _NOT_COPIED}
    run = {**below.configuration.get("config", {}), **configuration.get("config", {})}
    diff_ids = [*below.configuration.get("rootfs", {}).get("diff_ids", []), *(layer.digest for layer in layers)]
    made = {**own, **configuration, "config": run, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = oci_forms.blob(oci_forms.IMAGE_CONFIG, msgspec.json.encode(made, order="sorted"))
    ours = [Descriptor(oci_forms.IMAGE_LAYER, layer.digest, layer.size) for layer in layers]
    return config, oci_forms.image_manifest(config, [*below.layers, *ours])


def _copied(base: str, repository: Repository, progress: Progress) -> Base:
    """The base image, its layers sent along."""
    named = reference.parse(base)
    if not named.digest:
        raise UsageError(
            f"the base image {base} is not named by its digest",
            hint="oci://HOST/REPOSITORY@sha256:HEX, with the digest of its manifest for one platform",
        )
    with opened(named) as source:
        manifest, _ = source.manifest(named.digest)
        if manifest.config.media_type != oci_forms.IMAGE_CONFIG:
            raise PackageError(f"{base} is no image, but {manifest.kind}", hint="name an image with a CPython")
        config = b"".join(source.blob(manifest.config.digest, _CONFIG_LIMIT))
        for layer in manifest.layers:
            repository.put_blob(layer, partial(_fetched, source, layer, progress))
    return Base([_bare(layer) for layer in manifest.layers], _configuration(config, manifest, base))


def _configuration(config: bytes, manifest: Manifest, base: str) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(config, type=dict[str, Any])
        diff_ids = msgspec.convert(read["rootfs"]["diff_ids"], list[str])
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise PackageError(f"the configuration of {base} cannot be read", hint="is it an image?") from error
    if len(diff_ids) != len(manifest.layers):
        raise PackageError(
            f"{base} has {len(manifest.layers)} layers and names {len(diff_ids)}", hint="is it an image?"
        )
    return read


def _bare(layer: Descriptor) -> Descriptor:
    return Descriptor(layer.media_type, layer.digest, layer.size)


def _sent(layer: Layer, progress: Progress, offset: int) -> Iterator[bytes]:
    return from_offset(told(layer.chunks(), "sending the image", layer.size, progress), offset)


def _fetched(source: Repository, layer: Descriptor, progress: Progress, offset: int) -> Iterator[bytes]:
    return from_offset(told(source.blob(layer.digest), "copying the base image", layer.size, progress), offset)
