"""Signatures of a manifest in the form that cosign reads: simple signing, under a tag made of the manifest's digest.

The payload is a JSON object that names the manifest's digest. A signature is a layer of the manifest that the tag
`sha256-HEX.sig` names, with the payload as its content and the signature as an annotation. cosign checks it with the
public key; what it says of the package is no more than that its holder signed this artifact.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

import msgspec

from enarx_deploy.errors import NotPublished
from enarx_registries import oci_forms
from enarx_registries.oci_forms import Descriptor

if TYPE_CHECKING:
    from enarx_registries.oci_repository import Repository

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
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
    blob = oci_forms.blob(PAYLOAD, signed)
    annotations = {SIGNATURE: base64.b64encode(signature).decode()}
    layer = msgspec.structs.replace(blob.descriptor, annotations=annotations)
    there = _signatures(repository, digest)
    if layer in there:
        return
    repository.put_bytes(blob)
    layers = [*there, layer][-_MOST:]
    config, manifest = oci_forms.list_of_signatures(layers)
    repository.put_bytes(config)
    repository.put_manifest(manifest, _tag(digest))


def _signatures(repository: Repository, digest: str) -> list[Descriptor]:
    with contextlib.suppress(NotPublished):
        return repository.manifest(_tag(digest))[0].layers
    return []


def _tag(digest: str) -> str:
    return f"{digest.replace(':', '-')}.sig"
