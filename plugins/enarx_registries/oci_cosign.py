"""What cosign reads of a manifest: signatures and attestations, each under a tag made of the manifest's digest.

    sha256-HEX.sig   signatures: simple signing, a JSON object that names the manifest's digest, as a layer's content,
                     with the signature as an annotation of it
    sha256-HEX.att   attestations: in-toto statements about the manifest's digest, each in an envelope (DSSE) as a
                     layer's content, with its predicate's type as an annotation

cosign checks both with the public key; what a signature says of the package is no more than that its holder signed
this artifact.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

import msgspec

from enarx_deploy.errors import NotPublished
from enarx_registries import oci_forms
from enarx_registries.oci_forms import Blob, Descriptor

if TYPE_CHECKING:
    from enarx_registries.oci_repository import Repository

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
PREDICATE = "predicateType"
_TYPE = "cosign container image signature"
_MOST = 64


def payload(place: str, digest: str) -> bytes:
    """What is signed: that the manifest with this digest is the one at a place, HOST/REPOSITORY."""
    critical = {
        "identity": {"docker-reference": place},
        "image": {"docker-manifest-digest": digest},
        "type": _TYPE,
    }
    return msgspec.json.encode({"critical": critical, "optional": None})


def add(repository: Repository, digest: str, signed: bytes, signature: bytes) -> None:
    """Add a signature over the payload `signed` to those of a manifest."""
    annotations = {SIGNATURE: base64.b64encode(signature).decode()}
    _add(repository, f"{_tag(digest)}.sig", oci_forms.blob(PAYLOAD, signed), annotations)


def attest(repository: Repository, digest: str, predicate_type: str, envelope: bytes) -> None:
    """Add an attestation in its envelope to those of a manifest."""
    # The envelope has its own signatures; cosign wants the annotation all the same, and empty.
    annotations = {SIGNATURE: "", PREDICATE: predicate_type}
    _add(repository, f"{_tag(digest)}.att", oci_forms.blob(ENVELOPE, envelope), annotations)


def _add(repository: Repository, tag: str, blob: Blob, annotations: dict[str, str]) -> None:
    """Add a layer to the list that a tag names; of a list that is full the oldest is left out."""
    layer = msgspec.structs.replace(blob.descriptor, annotations=annotations)
    there = _layers(repository, tag)
    if layer in there:
        return
    repository.put_bytes(blob)
    config, manifest = oci_forms.list_of_signatures([*there, layer][-_MOST:])
    repository.put_bytes(config)
    repository.put_manifest(manifest, tag)


def _layers(repository: Repository, tag: str) -> list[Descriptor]:
    with contextlib.suppress(NotPublished):
        return repository.manifest(tag)[0].layers
    return []


def _tag(digest: str) -> str:
    return digest.replace(":", "-")
