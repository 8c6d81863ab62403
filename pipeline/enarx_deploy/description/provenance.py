"""From what and how a package was made, as SLSA provenance version 1.

The builder is whoever ran this program: what it says is worth as much as the key that signs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from enarx_deploy import __version__
from enarx_deploy.description.lock_files import LockFile
from enarx_deploy.description.source import Source
from enarx_deploy.models import Module, Package
from enarx_signing import statement as in_toto

if TYPE_CHECKING:
    from enarx_deploy.project import Project

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:enarx-deploy:build:v1"
BUILDER = "urn:enarx-deploy:builder:local"


def statement(
    project: Project, module: Module, package: Package, lock_files: Sequence[LockFile], source: Source
) -> bytes:
    """The in-toto statement with the provenance of a package."""
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "command": ["enarx-deploy", "package"],
                "manifest": {"sha256": hashlib.sha256(project.manifest_text).hexdigest()},
                "build": msgspec.to_builtins(project.manifest.build),
            },
            "internalParameters": {"toolchain": module.toolchain, "toolchainVersion": module.version},
            "resolvedDependencies": [*_source(source), *_lock_files(lock_files), *_inputs(module)],
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"enarx-deploy": __version__}},
            "metadata": _dated(source),
        },
    }
    return in_toto.about(package.digest, "package", PREDICATE_TYPE, predicate)


def _source(source: Source) -> Iterator[dict[str, Any]]:
    if source.revision:
        where = {"uri": f"git+{source.repository}"} if source.repository else {}
        yield {
            "name": "source",
            **where,
            "digest": {"gitCommit": source.revision},
            "annotations": {"dirty": source.dirty},
        }


def _lock_files(lock_files: Sequence[LockFile]) -> Iterator[dict[str, Any]]:
    for lock in lock_files:
        yield {"name": lock.path, "digest": {"sha256": lock.sha256}}


def _inputs(module: Module) -> Iterator[dict[str, Any]]:
    """Every file that the build read."""
    for name, digest in sorted(module.inputs.items()):
        yield {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _dated(source: Source) -> dict[str, str]:
    return {} if source.moment is None else {"finishedOn": source.moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
