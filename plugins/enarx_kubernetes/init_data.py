"""Init-data of a confidential pod (Confidential Containers): what the guest is told, bound to its evidence.

The host sees it and cannot change it: the digest of the TOML text is SNP's HOST_DATA, and TDX's MRCONFIGID.
"""

from __future__ import annotations

import base64
import gzip
import hashlib

import tomli_w

ANNOTATION = "io.katacontainers.config.hypervisor.cc_init_data"
"""Of the pod; kata hands its content to the guest."""

_VERSION = "0.1.0"
_MRCONFIGID = 2 * 48
"""Digits of MRCONFIGID, which a shorter digest is filled up to with zeros."""


def text(package: str, steward: str, steward_root: str, policy: str) -> str:
    """The TOML: the package's digest, and whom the Keep asks for its certificate, with the root that proves it; and
    what the guest's agent may be asked for."""
    said = {"package": package, "steward": steward, "steward_root": steward_root}
    data = {"enarx.toml": tomli_w.dumps(said), "policy.rego": policy}
    return tomli_w.dumps({"version": _VERSION, "algorithm": "sha256", "data": data})


def digest(toml: str) -> str:
    """What evidence has for it, in hex: SHA-256, whose 32 bytes fill HOST_DATA."""
    return hashlib.sha256(toml.encode()).hexdigest()


def accepted(kind: str, package: str, toml: str) -> dict[str, dict[str, list[str]]]:
    """The section of a Steward's policy for such a pod, without what Kata's guest measures to."""
    fixed = {"snp": {"host_data": [digest(toml)]}, "tdx": {"mrconfigids": [digest(toml).ljust(_MRCONFIGID, "0")]}}
    return {kind: {"packages": [package], **fixed[kind]}}


def annotation(toml: str) -> str:
    """The annotation's value: the same text always makes the same one."""
    return base64.b64encode(gzip.compress(toml.encode(), mtime=0)).decode()
