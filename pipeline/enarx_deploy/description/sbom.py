"""What went into a package, as CycloneDX 1.6: its files, the toolchain, and what lock files name."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from enarx_deploy.description.lock_files import Dependency, LockFile
from enarx_deploy.models import Module, Package, PackageFile
from enarx_signing import statement as in_toto

PREDICATE_TYPE = "https://cyclonedx.org/bom"
_ALGORITHMS = {"sha256": HashAlgorithm.SHA_256, "sha384": HashAlgorithm.SHA_384, "sha512": HashAlgorithm.SHA_512}


def statement(module: Module, package: Package, lock_files: Sequence[LockFile], moment: datetime | None) -> bytes:
    """The in-toto statement with the SBOM of a package."""
    return in_toto.about(package.digest, "package", PREDICATE_TYPE, _bom(module, package, lock_files, moment))


def _bom(module: Module, package: Package, lock_files: Sequence[LockFile], moment: datetime | None) -> dict[str, Any]:
    dependencies = {(one.kind, one.name, one.version): one for lock in lock_files for one in lock.dependencies}
    components = [
        *(_file(file) for file in package.files),
        _toolchain(module),
        *(_dependency(one) for one in dependencies.values()),
    ]
    described = _package(package)
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"urn:enarx-deploy:package:{package.digest}"),
        metadata=BomMetaData(component=described, timestamp=moment),
    )
    bom.register_dependency(described, components)
    made: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    if moment is None:  # the library takes the clock's
        del made["metadata"]["timestamp"]
    return made


def _package(package: Package) -> Component:
    return Component(
        type=ComponentType.APPLICATION,
        name="package",
        version=package.digest,
        bom_ref="package",
        hashes=[_sha256(package.digest)],
    )


def _file(file: PackageFile) -> Component:
    return Component(
        type=ComponentType.FILE,
        name=file.path,
        bom_ref=f"file:{file.path}",
        hashes=[_sha256(file.sha256)],
    )


def _toolchain(module: Module) -> Component:
    return Component(
        type=ComponentType.APPLICATION,
        name=module.toolchain,
        version=module.version or None,
        bom_ref="toolchain",
        scope=ComponentScope.EXCLUDED,  # it made the module, and is not in it
    )


def _dependency(found: Dependency) -> Component:
    group, _, name = found.name.rpartition("/")
    purl = PackageURL(type=found.kind, namespace=group or None, name=name, version=found.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=found.name,
        version=found.version,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=list(_hashes(found)),
        properties=[Property(name="go.sum:h1", value=found.go_sum)] if found.go_sum else [],
    )


def _hashes(found: Dependency) -> Iterator[HashType]:
    for algorithm, value in found.hashes.items():
        yield HashType(alg=_ALGORITHMS[algorithm], content=value)


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))
