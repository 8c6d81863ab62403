"""Deploying a package that this machine does not see: its Keep has a certificate first, and fetches it itself."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy import paths
from enarx_deploy.errors import UsageError
from enarx_deploy.manifest import Manifest
from enarx_deploy.models import Package, PackageSource
from enarx_deploy.project import Project
from enarx_deploy.reference import SLUG_SCHEME, Reference

API = "0.2.0"
"""The version of Drawbridge's protocol that a Keep speaks; later servers take it."""
_HTTPS = 443
_SETTINGS = ("steward", "attest", "deploy")
"""What a manifest says of a deployment: all else is in the package."""


def source(reference: Reference, roots: Path | None) -> PackageSource:
    """From where a Keep fetches what a reference names. `roots` are whom to believe there (PEM). Raises UsageError."""
    if reference.scheme != SLUG_SCHEME:
        raise UsageError(
            f"{reference}: a Keep fetches from a Drawbridge by TLS, and from nowhere else",
            hint=f"write {SLUG_SCHEME}://HOST/USER/REPOSITORY:TAG@sha256:HEX, or leave out --attest-first",
        )
    if not (reference.digest and reference.tag):
        raise UsageError(
            f"{reference} does not say which package it is",
            hint="write both the tag and @sha256:HEX: evidence commits to the digest before the package is there",
        )
    host, port = _address(reference.host)
    path = f"/api/v{API}/{reference.path}/_tag/{reference.tag}/tree"
    return PackageSource(host=host, port=port, path=path, roots=_roots(roots) if roots else [])


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


def _address(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    return ((name if colon else host).strip("[]"), int(port) if colon else _HTTPS)


def _roots(path: Path) -> list[str]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a PEM file of certificates: {error}") from error
    return [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in found]
