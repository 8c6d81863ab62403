"""What an image is made of, as CycloneDX 1.6: packages, distributions and files, and the programs that built it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from enarx_image.image import CMDLINE, INITRD, KERNEL, Record
from enarx_image.pins import Package


def document(record: Record) -> bytes:
    """The SBOM of an image, the same bytes for the same image."""
    described = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name="keep-image",
        version=record.digest,
        bom_ref="image",
        hashes=[_sha256(record.digest)],
    )
    components = [*_parts(record), *_packages(record), *_distributions(record), *_files(record)]
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"urn:enarx-deploy:image:{record.digest}"),
        metadata=BomMetaData(component=described),
    )
    bom.register_dependency(described, components)
    made: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del made["metadata"]["timestamp"]  # the library takes the clock's
    return json.dumps(made, indent=1, sort_keys=True).encode() + b"\n"


def _parts(record: Record) -> Iterator[Component]:
    for name in (KERNEL, INITRD, CMDLINE):
        yield _file(name, getattr(record, name).sha256, f"part:{name}")


def _packages(record: Record) -> Iterator[Component]:
    for package in record.pins.packages:
        purl = _deb(package, record.pins.suite)
        yield Component(
            type=ComponentType.LIBRARY,
            name=package.name,
            version=package.version,
            bom_ref=purl.to_string(),
            purl=purl,
            hashes=[_sha256(package.sha256)],
            # A tool made the image, and is not in it.
            scope=ComponentScope.EXCLUDED if package.use == "tool" else ComponentScope.REQUIRED,
        )


def _deb(package: Package, suite: str) -> PackageURL:
    qualifiers = {"arch": package.architecture, "distro": suite}
    return PackageURL(type="deb", namespace="debian", name=package.name, version=package.version, qualifiers=qualifiers)


def _distributions(record: Record) -> Iterator[Component]:
    for name, version in sorted(record.distributions.items()):
        purl = PackageURL(type="pypi", name=name, version=version)
        yield Component(type=ComponentType.LIBRARY, name=name, version=version, bom_ref=purl.to_string(), purl=purl)


def _files(record: Record) -> Iterator[Component]:
    return (_file(file.path, file.sha256, f"file:{file.path}") for file in record.files)


def _file(name: str, digest: str, reference: str) -> Component:
    return Component(type=ComponentType.FILE, name=name, bom_ref=reference, hashes=[_sha256(digest)])


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))
