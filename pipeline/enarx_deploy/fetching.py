"""Getting a package by its reference, and the project that stands for it when it is deployed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import choice, package_attachments, package_signing, package_tree, paths, pruning, trusted_signers
from enarx_deploy.errors import NotPublished, PackageError
from enarx_deploy.project import Project
from enarx_deploy.protocols import ArtifactRegistry

if TYPE_CHECKING:
    from enarx_deploy.models import Package
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.protocols import Attachment, Progress
    from enarx_deploy.reference import Reference
    from enarx_signing import Signers


KEPT = 32
"""Most packages in the cache: those that were asked for last."""


def fetch(
    reference: Reference,
    plugins: PluginManager,
    progress: Progress,
    into: Path | None = None,
    signers: Signers | None = None,
) -> Package:
    """The package that a reference names, checked, laid out under `into`: else in the cache, which keeps the latest.

    One of `signers`, else of the keys that this user trusts, must have signed it, which is looked at before anything of
    it is fetched, where the registry can say it by itself; where there are no keys, nobody must. What is attached to it
    is kept beside it. Raises UsageError, NotPublished, PackageError, RegistryError, VerificationRefused.
    """
    if into is not None:
        return _fetch(reference, plugins, progress, into, signers)
    cache = paths.cache_dir("packages")
    with pruning.arriving(cache):
        package = _fetch(reference, plugins, progress, cache, signers)
        pruning.make_latest(Path(package.root))  # it may have been there
    pruning.arrived(cache, KEPT)
    return package


def _fetch(
    reference: Reference, plugins: PluginManager, progress: Progress, into: Path, signers: Signers | None
) -> Package:
    with plugins.boundary():
        registry = choice.registry(str(reference), plugins)
        if isinstance(registry, ArtifactRegistry):
            return _fetch_signed(registry, reference, progress, into, signers)
        package = registry.fetch(str(reference), into)
    _require_digest(package, reference, reference.digest or package.digest)
    found = package_attachments.load(Path(package.root).parent, package.digest)  # a file of `pack` brings its own
    require_signature(package.digest, found, signers, progress)
    return package


def _fetch_signed(
    registry: ArtifactRegistry, reference: Reference, progress: Progress, into: Path, signers: Signers | None
) -> Package:
    """What is attached, who signed, then the package itself, which must be the one that they signed."""
    published = None if reference.digest else registry.resolve(str(reference))
    if published and published.yanked:
        raise NotPublished(
            f"{reference} was yanked: {published.yanked}", hint=f"it is still {published.reference}, if you must"
        )
    digest = published.digest if published else reference.digest
    found = registry.attachments(str(reference.pinned(digest)))
    require_signature(digest, found, signers, progress)
    package = registry.fetch(str(reference), into, progress)
    _require_digest(package, reference, digest)
    package_attachments.replace(Path(package.root).parent, digest, found)
    return package


def _require_digest(package: Package, reference: Reference, digest: str) -> None:
    if package.digest != digest:
        raise PackageError(
            f"{reference.place} is {package.digest}, not {digest}",
            hint="the registry has another package there: ask whoever published it",
        )


def require_signature(digest: str, found: Sequence[Attachment], signers: Signers | None, progress: Progress) -> None:
    """Ask that one of `signers`, else of the keys that this user trusts, signed it; where there are none, nobody need.

    Raises VerificationRefused.
    """
    known = trusted_signers.load() if signers is None else signers
    if len(known):
        checked = package_signing.check(digest, found, known, datetime.now(UTC))
        progress(f"signed by {', '.join(f'{signer.name} ({signer.key.id[:16]}…)' for signer in checked.signers)}")
    elif package_signing.signatures(found):
        progress("signed, and nobody's signature is asked for: `enarx-deploy key trust` adds a key")


def project(reference: Reference, package: Package, load: Callable[[Path, Path | None], Project]) -> Project:
    """The project of which a fetched package is all that there is; `load` reads one by its directory and manifest.

    Its records are kept in the state directory, apart for each place that a package is fetched from.
    """
    place = hashlib.sha256(reference.place.encode()).hexdigest()[:16]
    root = paths.state_dir("references", place, reference.name)
    manifest = Path(package.root) / package_tree.MANIFEST
    return dataclasses.replace(load(root, manifest if manifest.exists() else None), manifest_file=manifest)
