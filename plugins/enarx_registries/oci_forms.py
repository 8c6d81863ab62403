"""What a package looks like in an OCI registry (OCI Image Specification 1.1, and the CNCF's Wasm artifact).

    TAG          the artifact: one layer, the module; what it says of the package stands in annotations
    ├── referrer     Enarx.toml
    ├── referrer     a tar with everything but the module, and a list of every file's digests
    └── referrers    what is attached: SBOM, provenance, signatures
    package-HEX  the same artifact under the package's digest
    TAG-oci      an image of the same files, for runtimes that want a root file system

A yanked TAG names a mark with the reason. All bytes are made from the package and the date of its sources alone, so
that the same package has the same manifest, whoever publishes it.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Final, get_args

import msgspec

from enarx_deploy.errors import PackageError
from enarx_deploy.models import Package
from enarx_deploy.protocols import Attachment, AttachmentKind
from enarx_drawbridge import strict_json

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
WASM: Final = "application/wasm"
WASM_CONFIG: Final = "application/vnd.wasm.config.v0+json"
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
ENARX_TOML: Final = "application/vnd.enarx.config.v1+toml"
TREE: Final = "application/vnd.enarx.tree.v1.tar"
LISTING: Final = "application/vnd.enarx.listing.v1+json"
YANKED: Final = "application/vnd.enarx.yanked.v1+json"

TITLE: Final = "org.opencontainers.image.title"
CREATED: Final = "org.opencontainers.image.created"
PACKAGE_DIGEST: Final = "dev.enarx.package.digest"
PACKAGE_SIZE: Final = "dev.enarx.package.size"
PACKAGE_TREE: Final = "dev.enarx.package.tree"
PACKAGE_LISTING: Final = "dev.enarx.package.listing"
ATTACHMENT: Final = "dev.enarx.attachment"
REASON: Final = "dev.enarx.yanked.reason"

_DATE: Final = "%Y-%m-%dT%H:%M:%SZ"
NOTHING: Final = b"{}"

# What other tools attach, by its media type.
_KINDS: Final[dict[str, AttachmentKind]] = {
    "application/vnd.cyclonedx+json": "sbom",
    "application/spdx+json": "sbom",
    "application/vnd.in-toto+json": "provenance",
    "application/vnd.dsse.envelope.v1+json": "signature",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "signature",
}

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}(?!\n)$")]


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a manifest says of a blob, or an index of a manifest."""

    media_type: str
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    artifact_type: str = ""
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A manifest. What is not read here is left out."""

    config: Descriptor
    layers: list[Descriptor]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}

    @property
    def kind(self) -> str:
        """What this is an artifact of."""
        return self.artifact_type or self.config.media_type


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """An index. An entry of it may say what it likes: the manifest itself is opened."""

    manifests: list[Descriptor] = []


class Blob(msgspec.Struct, frozen=True):
    """A blob that is held in memory."""

    descriptor: Descriptor
    content: bytes


def digest_of(data: bytes) -> str:
    """The digest of a blob or a manifest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob(media_type: str, content: bytes, title: str = "") -> Blob:
    """A blob of this content, which tools that pull it call `title`."""
    annotations = {TITLE: title} if title else {}
    return Blob(Descriptor(media_type, digest_of(content), len(content), annotations=annotations), content)


def date(created: int) -> str:
    """Seconds since 1970 as RFC 3339 in UTC."""
    return datetime.datetime.fromtimestamp(created, datetime.UTC).strftime(_DATE)


def seconds(text: str, default: int) -> int:
    """What `date` was made of; `default` where it is no date."""
    try:
        moment = datetime.datetime.strptime(text, _DATE).replace(tzinfo=datetime.UTC)
    except ValueError:
        return default
    return int(moment.timestamp())


def module_config(module: Descriptor, created: int) -> Blob:
    """The configuration of the Wasm artifact: of a core module for WASI preview 1, for a package holds no other."""
    config = {
        "created": date(created),
        "author": None,
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": [module.digest],
        "component": None,
    }
    return blob(WASM_CONFIG, msgspec.json.encode(config))


def artifact(
    package: Package, module: Descriptor, tree: Descriptor, listing: Descriptor, config: Blob, created: int
) -> Blob:
    """The manifest of a package. The module is its only layer: tools for Wasm refuse others."""
    annotations = {
        CREATED: date(created),
        PACKAGE_DIGEST: package.digest,
        PACKAGE_SIZE: str(package.size),
        PACKAGE_TREE: tree.digest,
        PACKAGE_LISTING: listing.digest,
    }
    return _manifest(Manifest(config.descriptor, [module], annotations=annotations))


class Listed(msgspec.Struct, frozen=True):
    """What is said of one file: every digest of the directory form in base64, its length and its media type."""

    digest: dict[str, str]
    length: int
    type: str


def listing(package: Package) -> Blob:
    """Every file of a package with all of its digests, so that whoever fetches it has to take one of them alone."""
    files = {file.path: Listed(file.digests, file.size, file.type) for file in package.files}
    return blob(LISTING, msgspec.json.encode(files), "listing.json")


def read_listing(data: bytes, shown: str) -> dict[str, Listed]:
    """Raises PackageError."""
    with _refusals(shown):
        return msgspec.json.decode(data, type=dict[str, Listed])


def referrer(artifact_type: str, layers: list[Descriptor], subject: Descriptor, annotations: dict[str, str]) -> Blob:
    """The manifest of something that is said of another."""
    about = Descriptor(subject.media_type, subject.digest, subject.size)
    return _manifest(Manifest(EMPTY_BLOB.descriptor, layers, artifact_type, about, annotations))


def attachment_kind(manifest: Manifest) -> AttachmentKind | None:
    """Which kind of attachment a referrer is; None for what is of another kind."""
    named = manifest.annotations.get(ATTACHMENT)
    return next((kind for kind in get_args(AttachmentKind) if kind == named), _KINDS.get(manifest.kind))


def title(attachment: Attachment) -> str:
    """What tools call an attachment that they pull."""
    return f"{attachment.kind}.json" if attachment.media_type.endswith("json") else attachment.kind


def image(layers: list[Descriptor], diff_ids: list[str], created: int) -> tuple[Blob, Blob]:
    """The configuration and the manifest of an image with these layers, which are not packed."""
    config = {
        "created": date(created),
        "architecture": "wasm",
        "os": "wasi",
        "config": {"Entrypoint": ["/main.wasm"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    made = blob(IMAGE_CONFIG, msgspec.json.encode(config))
    # What crun and older shims look for, before they run a module in the place of a native program.
    annotations = {CREATED: date(created), "module.wasm.image/variant": "compat"}
    return made, _manifest(Manifest(made.descriptor, layers, annotations=annotations))


def image_manifest(config: Blob, layers: list[Descriptor]) -> Blob:
    """The manifest of an image with this configuration and these layers."""
    return _manifest(Manifest(config.descriptor, layers))


def list_of_signatures(layers: list[Descriptor]) -> tuple[Blob, Blob]:
    """The configuration and the manifest under which cosign looks for signatures: an image, as it takes it."""
    config = {
        "architecture": "",
        "created": date(0),
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    made = blob(IMAGE_CONFIG, msgspec.json.encode(config))
    return made, _manifest(Manifest(made.descriptor, layers))


def yanked_mark(manifest: Manifest, artifact: Descriptor, reason: str) -> Blob:
    """What a tag names in the place of a package that was withdrawn: `manifest`, which is at `artifact`."""
    kept = {name: manifest.annotations.get(name, "") for name in (PACKAGE_DIGEST, PACKAGE_SIZE)}
    annotations = {**kept, REASON: reason}
    return referrer(YANKED, [EMPTY_BLOB.descriptor], artifact, annotations)


def read_manifest(data: bytes, shown: str) -> Manifest:
    """Raises PackageError."""
    with _refusals(shown):
        found = _unambiguous(data)
        if isinstance(found, dict) and "config" not in found and "manifests" in found:
            raise PackageError(f"{shown} is an index of several, and no package", hint="name one of them by its tag")
        return msgspec.convert(found, Manifest)


def read_index(data: bytes, shown: str) -> Index:
    """Raises PackageError."""
    with _refusals(shown):
        return msgspec.convert(_unambiguous(data), Index)


def index_json(manifests: list[Descriptor]) -> bytes:
    """An index of these."""
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})


def _unambiguous(data: bytes) -> Any:
    """JSON that another program does not read differently. Raises DecodeError, RecursionError."""
    try:
        return strict_json.read(data)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


@contextlib.contextmanager
def _refusals(shown: str) -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(
            f"{shown} is not what it should be: {error}", hint="was it published by another tool?"
        ) from error


def _manifest(manifest: Manifest) -> Blob:
    body = {"schemaVersion": 2, "mediaType": MANIFEST, **msgspec.to_builtins(manifest)}
    return blob(MANIFEST, msgspec.json.encode(body))


EMPTY_BLOB: Final = blob(EMPTY, NOTHING)
