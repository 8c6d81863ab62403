"""What runs in a Keep, by the names under which a policy and a certificate may speak of it."""

from __future__ import annotations

from typing import Any

import msgspec

from enarx_attestation import Claims

from .package_signers import SignedBy


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Digests are lower-case hexadecimal. Nothing is known of what a Keep without hardware does not say itself."""

    kind: str
    package: str | None = None
    """`sha256:<hex>` of the package to which the evidence is bound."""
    measurement: str | None = None
    """Of what the hardware measured at launch: SNP's MEASUREMENT, MRENCLAVE, MRTD, PCR 0, RIM."""
    signers: tuple[str, ...] = ()
    """Of who signed that: SNP's author and ID keys, MRSIGNER, PCR 8."""
    signed: SignedBy = SignedBy()
    """Who signed the package, of those whom the policy trusts."""


def workload(found: Claims, package: str | None, signed: SignedBy) -> Workload:
    """What verified claims say of the workload."""
    measurement, signers = _identities(found)
    named = tuple(signer for signer in signers if signer.strip("0"))
    return Workload(kind=found.kind, package=package, measurement=measurement, signers=named, signed=signed)


def _identities(found: Any) -> tuple[str | None, tuple[str, ...]]:
    match found.kind:
        case "snp" | "az-snp":
            author = (found.author_key_digest,) if found.author_key_enabled else ()
            return found.measurement, (*author, found.id_key_digest)
        case "sgx":
            return found.mrenclave, (found.mrsigner,)
        case "tdx":
            return found.mrtd, ()
        case "nitro":
            return found.pcrs.get("0"), (found.pcrs.get("8", ""),)
        case "cca":
            return found.rim, ()
        case _:
            return None, ()
