"""The manifest: what `Enarx.toml` may say, and how it is read and checked."""

from __future__ import annotations

from enarx_deploy.manifest.environments import OwnTable, overlays
from enarx_deploy.manifest.loader import FILE_NAME, MAX_BYTES, Loaded, load, parse
from enarx_deploy.manifest.schema import schema
from enarx_deploy.manifest.types import (
    Asset,
    Attest,
    Build,
    Connect,
    Deploy,
    File,
    Listen,
    Manifest,
    Network,
    Null,
    PackageTable,
    Resources,
    Secret,
    Socket,
    Stderr,
    Stdin,
    Stdout,
    Tls,
    destination_name,
)

__all__ = [
    "FILE_NAME",
    "MAX_BYTES",
    "Asset",
    "Attest",
    "Build",
    "Connect",
    "Deploy",
    "File",
    "Listen",
    "Loaded",
    "Manifest",
    "Network",
    "Null",
    "OwnTable",
    "PackageTable",
    "Resources",
    "Secret",
    "Socket",
    "Stderr",
    "Stdin",
    "Stdout",
    "Tls",
    "destination_name",
    "load",
    "overlays",
    "parse",
    "schema",
]
