"""The root certificates of Stewards that manifests name: pinned on first use, and held to from then on.

A root that is already there was put by an earlier use, or by the user; another one is never taken in its place.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from enarx_deploy import paths
from enarx_deploy.errors import StewardError

DIRECTORY = "steward-roots"


class Root(NamedTuple):
    """A pinned root, and the file that pins it."""

    pem: str
    path: Path


def pin(url: str, pem: str) -> Root:
    """The pinned root of a Steward, which must be the one that it shows now. Raises StewardError if it is not."""
    path = path_of(url)
    shown = _read(pem, f"the Steward at {url} shows")
    if not path.exists():
        paths.write_atomically(path, pem.encode(), mode=0o644)
    pinned = known(url)
    if _read(pinned.pem, f"{path} holds") != shown:
        raise StewardError(
            f"the Steward at {url} shows another root certificate than the pinned one",
            hint=f"pinned: {path}; find out why it changed before you remove that file",
        )
    return Root(pem, path)


def known(url: str) -> Root:
    """The pinned root of a Steward. Raises StewardError if there is none."""
    path = path_of(url)
    try:
        pem = path.read_text()
    except FileNotFoundError:
        raise StewardError(
            f"the root certificate of the Steward at {url} is not known, and Enarx's protocol does not tell it",
            hint=f"save it (PEM) as {path}",
        ) from None
    _read(pem, f"{path} holds")
    return Root(pem, path)


def path_of(url: str) -> Path:
    """The file that pins the root of the Steward at a URL."""
    host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(url).netloc or "steward").lower())[:80]
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:12]
    return paths.state_dir(DIRECTORY) / f"{host}-{digest}.pem"


def _read(pem: str, whose: str) -> x509.Certificate:
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise StewardError(f"{whose} something else than one certificate in PEM") from error
    return certificate
