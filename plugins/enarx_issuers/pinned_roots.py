"""The root certificates of Stewards that manifests name: pinned on first use, and held to from then on.

A root that is already there was put by an earlier use, or by the user; another one is never taken in its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy import paths
from enarx_deploy.errors import StewardError
from enarx_files.turns import turn

DIRECTORY = "steward-roots"


class Root(NamedTuple):
    """A pinned root, and the file that pins it."""

    pem: str
    path: Path


def pin(url: str, shown: Sequence[str]) -> Root:
    """The pinned root of a Steward, which must be one of those that it shows now. Raises StewardError if it is not.

    Where none is pinned, the first that it shows is pinned.
    """
    path = path_of(url)
    roots = [_read(pem, f"the Steward at {url} shows") for pem in shown]
    if not path.exists():
        _pin_first(path, shown[0])
    pinned = known(url)
    if _read(pinned.pem, f"{path} holds") not in roots:
        raise StewardError(
            f"the Steward at {url} shows another root certificate than the pinned one",
            hint=f"pinned: {path}; find out why it changed, compare the new one's digest ({_digest(roots[0])}) with "
            "what its operator says by another way, and put it in that file's place",
        )
    return pinned


def _pin_first(path: Path, pem: str) -> None:
    """Of two that meet a Steward for the first time, one pins what it was shown, and the other is held to it."""
    with turn(path):
        if not path.exists():
            paths.write_atomically(path, pem.encode(), mode=0o644)


def find(url: str) -> Root | None:
    """The pinned root of a Steward, if there is one. Raises StewardError if the file that pins it cannot be read."""
    path = path_of(url)
    try:
        pem = path.read_text()
    except FileNotFoundError:
        return None
    certificate = _read(pem, f"{path} holds")
    return Root(certificate.public_bytes(Encoding.PEM).decode(), path)


def known(url: str) -> Root:
    """The pinned root of a Steward. Raises StewardError if there is none."""
    root = find(url)
    if root is None:
        raise StewardError(
            f"the root certificate of the Steward at {url} is not known, and Enarx's protocol does not tell it",
            hint=f"save it (PEM) as {path_of(url)}",
        )
    return root


def path_of(url: str) -> Path:
    """The file that pins the root of the Steward at a URL."""
    host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(url).netloc or "steward").lower())[:80]
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:12]
    return paths.state_dir(DIRECTORY) / f"{host}-{digest}.pem"


def _read(pem: str, whose: str) -> x509.Certificate:
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise StewardError(
            f"{whose} something else than one certificate in PEM", hint="ask whoever runs the Steward for its root.pem"
        ) from error
    return certificate


def _digest(certificate: x509.Certificate) -> str:
    return f"sha256:{certificate.fingerprint(SHA256()).hex()}"
