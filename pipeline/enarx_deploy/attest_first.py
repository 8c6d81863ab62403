"""Deploying a package that this machine does not see: its Keep has a certificate first, and fetches it itself."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from enarx_deploy import choice, fetching, package_signing, paths, trusted_signers
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError, VerificationRefused
from enarx_deploy.manifest import Manifest
from enarx_deploy.models import Package, PackageSource
from enarx_deploy.project import Project
from enarx_deploy.protocols import ServesKeeps

if TYPE_CHECKING:
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.protocols import Attachment, Target
    from enarx_deploy.reference import Reference
    from enarx_deploy.runner import Reporter
    from enarx_signing import Signers

_SETTINGS = ("steward", "attest", "deploy")
"""What a manifest says of a deployment: all else is in the package."""
_FORM = "HOST/USER/REPOSITORY:TAG@sha256:HEX"


def objection(reference: Reference, plugins: PluginManager, target: Target | None = None) -> str:
    """Why no Keep (of this target) can fetch what a reference names; empty where one can."""
    if not isinstance(choice.registry(str(reference), plugins), ServesKeeps):
        return "a Keep fetches from a Drawbridge by TLS, and from nowhere else"
    if reference.in_clear:
        return "its registry is spoken to in clear, and a Keep fetches by TLS"
    if target is not None and not getattr(target, "keeps_fetch", False):
        return f"Keeps of target {target.name!r} do not fetch their package themselves"
    return "" if reference.digest else "it does not say which package it is, and evidence commits to a digest"


def source(reference: Reference, plugins: PluginManager, signers: Signers | None, reporter: Reporter) -> PackageSource:
    """From where a Keep fetches what a reference names, and the signatures that this machine was shown of it.

    One of `signers`, else of the keys that this user trusts, must have signed it; where there are no keys, nobody must.
    Raises UsageError, NotPublished, PackageError, RegistryError, VerificationRefused.
    """
    why = objection(reference, plugins)
    registry = choice.registry(str(reference), plugins)
    if why or not isinstance(registry, ServesKeeps):
        raise UsageError(f"{reference}: {why}", hint=f"write {_FORM}, or have this machine fetch it: --fetch-here")
    with plugins.boundary():
        found = registry.source(str(reference))
    known = trusted_signers.load() if signers is None else signers
    shown = _attachments(registry, reference, known, plugins, reporter)
    fetching.require_signature(reference.digest, shown, known, reporter.progress)
    signatures = package_signing.travelling(reference.digest, shown, known, datetime.now(UTC))
    return msgspec.structs.replace(found, signatures=list(signatures))


def _attachments(
    registry: ServesKeeps, reference: Reference, known: Signers, plugins: PluginManager, reporter: Reporter
) -> list[Attachment]:
    """What is said of the package. A registry may show it to Keeps alone: then whoever asks for signatures refuses."""
    try:
        with plugins.boundary():
            return registry.attachments(str(reference))
    except (RegistryError, NotPublished, PackageError) as error:
        if len(known):
            raise VerificationRefused(
                f"{reference}: nobody whom you trust is seen to have signed it: {error}",
                hint="log in to the registry (`enarx-deploy user login`); or --allow-unsigned: the digest names it",
            ) from error
        reporter.note(f"no signatures are passed on to the Steward, which refuses if it asks for one: {error}")
        return []


def project(reference: Reference, source: PackageSource, load: Callable[[Path], Project]) -> tuple[Project, Package]:
    """The project of which nothing is known but how to deploy it, and its package; `load` reads what was set for it.

    Raises UsageError where more was set than that.
    """
    place = hashlib.sha256(reference.place.encode()).hexdigest()[:16]
    known = load(paths.state_dir("references", place, reference.name))
    others = msgspec.structs.replace(
        known.manifest, **{name: getattr(Manifest(), name) for name in _SETTINGS}, files=()
    )
    if others != Manifest():
        raise UsageError(
            f"{reference} has a manifest of its own, which its digest names",
            hint=f"of it only {', '.join(_SETTINGS)} can be set for a deployment",
        )
    settings = dataclasses.replace(known.settings, source=source)
    package = Package(digest=reference.digest, root="", size=0, files=[])
    return dataclasses.replace(known, settings=settings), package
