"""Getting a package by its reference, and the project that stands for it when it is deployed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import choice, package_tree, paths
from enarx_deploy.errors import PackageError
from enarx_deploy.project import Project
from enarx_deploy.protocols import ArtifactRegistry

if TYPE_CHECKING:
    from enarx_deploy.models import Package
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.protocols import Progress
    from enarx_deploy.reference import Reference


def fetch(reference: Reference, plugins: PluginManager, progress: Progress, into: Path | None = None) -> Package:
    """The package that a reference names, checked, laid out under `into`: else in the cache, kept for the next time.

    Raises UsageError, NotPublished, PackageError, RegistryError.
    """
    into = into or paths.cache_dir("packages")
    with plugins.boundary():
        registry = choice.registry(str(reference), plugins)
        if isinstance(registry, ArtifactRegistry):
            package = registry.fetch(str(reference), into, progress)
        else:
            package = registry.fetch(str(reference), into)
    if reference.digest and package.digest != reference.digest:
        raise PackageError(
            f"{reference.place} is {package.digest}, not {reference.digest}",
            hint="the registry has another package there: ask whoever published it",
        )
    return package


def project(reference: Reference, package: Package, load: Callable[[Path, Path | None], Project]) -> Project:
    """The project of which a fetched package is all that there is; `load` reads one by its directory and manifest.

    Its records are kept in the state directory, apart for each place that a package is fetched from.
    """
    place = hashlib.sha256(reference.place.encode()).hexdigest()[:16]
    root = paths.state_dir("references", place, reference.name)
    manifest = Path(package.root) / package_tree.MANIFEST
    return dataclasses.replace(load(root, manifest if manifest.exists() else None), manifest_file=manifest)
