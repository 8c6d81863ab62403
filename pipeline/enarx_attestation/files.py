"""From file contents to a verdict: what a command line or a service needs, without reading any file itself.

An endorsements directory, as a mapping of file name to bytes, holds what endorses one piece of evidence:

    vcek.der or vlek.der     AMD: the endorsement key's certificate
    ca_chain.pem             AMD: intermediate and root; optional, as they are pinned
    crl*.der                 AMD: revocation lists; optional if the policy says so
    collateral.json          Intel: TCB info, enclave identity, chains and revocation lists
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from . import intel_collateral, snp
from .errors import MalformedCollateral
from .model import Collateral

MAX_FILES: Final = 64
"""Most files that are looked at."""


def load_endorsements(kind: str, files: Mapping[str, bytes]) -> Collateral:
    """Collateral for evidence of `kind`. Raises `MalformedCollateral` naming what is missing or unreadable."""
    if len(files) > MAX_FILES:
        raise MalformedCollateral(f"more than {MAX_FILES} files of endorsements")
    loader = _LOADERS.get(kind)
    return Collateral() if loader is None else loader(files)


def _snp(files: Mapping[str, bytes]) -> Collateral:
    keys = [name for name in ("vcek.der", "vlek.der") if name in files]
    if len(keys) != 1:
        raise MalformedCollateral("expected vcek.der or vlek.der among the endorsements, and not both")
    crls = [data for name, data in sorted(files.items()) if name.startswith("crl") and name.endswith(".der")]
    return snp.read_collateral(files[keys[0]], chain=files.get("ca_chain.pem"), crls=crls)


def _intel(files: Mapping[str, bytes]) -> Collateral:
    if "collateral.json" not in files:
        raise MalformedCollateral("expected collateral.json among the endorsements")
    return intel_collateral.read_collateral(files["collateral.json"])


_LOADERS: Final[dict[str, Callable[[Mapping[str, bytes]], Collateral]]] = {"snp": _snp, "sgx": _intel, "tdx": _intel}
