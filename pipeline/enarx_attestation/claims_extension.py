"""What a Steward found, and from what, as it stands in the certificate: the claims extension.

The extension is a collection of two conceptual messages (see `cmw`), not critical::

    "result":   ["application/vnd.enarx-deploy.claims.v1+json", the claims' JSON, 8]
    "evidence": ["application/vnd.enarx-deploy.evidence.v1+cbor", a CBOR map, 4]

The second is there so that a relying party can appraise the evidence itself. Its map has the members `kind`, `data`
(the evidence as the Steward received it) and, where the evidence answered a challenge, `nonce` and `audience`: together
with the certificate's key and the claims' package they are all that `binding.report_data` commits to. A Steward may
leave it out, and does so for evidence of more than 16 KiB.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import msgspec

from . import cbor, cmw
from .cbor import CborError
from .cmw import OID, MalformedWrapper, Record

__all__ = ["MAX_EVIDENCE", "OID", "CertifiedEvidence", "Extension", "KeepClaims", "Malformed", "decode", "encode"]

CLAIMS_TYPE: Final = "application/vnd.enarx-deploy.claims.v1+json"
EVIDENCE_TYPE: Final = "application/vnd.enarx-deploy.evidence.v1+cbor"
MAX_EVIDENCE: Final = 1 << 14
"""Most bytes of evidence in a certificate. A report of SEV-SNP has 1,184, a quote of SGX or TDX 4,000 to 8,000."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z", max_length=256)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]


class KeepClaims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claims, in the order in which they are written."""

    backend: Word
    """Kind of the Keep, such as `nil`."""
    hardware: bool
    """Whether a CPU vouches for anything that follows; if not, all of it is the Keep's own word."""
    status: Word
    """The vendor's word for the platform's patch level; `Unprotected` where there is no vendor."""
    package: Digest | None
    """The package that the Keep runs, where the evidence names it."""
    evidence_sha256: Sha256 | None
    """Digest of the evidence as received; None where there was none but the marking."""
    report_data: Hex | None
    """The bytes to which the evidence is bound."""
    nonce_bound: bool
    """Whether these bytes commit to a nonce of the Steward's, so that the evidence was fresh."""
    policy_sha256: Sha256
    """Digest of the policy file under which the evidence was accepted."""
    measurement: Hex | None = None
    """What the hardware measured at launch: SNP's MEASUREMENT, MRENCLAVE, MRTD, PCR 0, RIM."""
    signers: Annotated[tuple[Hex, ...], msgspec.Meta(max_length=4)] = ()
    """Who signed that: digests of SNP's author and ID keys, MRSIGNER, PCR 8."""
    package_signers: Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=64)] = ()
    """Whose signatures of the package the Steward checked: digests of their public keys."""
    advisories: Annotated[tuple[Word, ...], msgspec.Meta(max_length=256)] = ()
    """The vendor's security advisories that apply to the platform."""


class CertifiedEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Evidence, and what its report data commits to beside the key and the package of the certificate."""

    kind: Word
    data: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_EVIDENCE)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=16, max_length=64)] | None = None
    """The Steward's challenge; None if the report data is Enarx's hash of the key alone."""
    audience: Annotated[str, msgspec.Meta(max_length=2048)] | None = None
    """The name of the Steward that asked."""


class Extension(NamedTuple):
    """What the extension holds."""

    claims: KeepClaims
    evidence: CertifiedEvidence | None = None


class Malformed(ValueError):
    """The extension's value cannot be read."""


_claims = msgspec.json.Decoder(KeepClaims)


def encode(claims: KeepClaims, evidence: CertifiedEvidence | None = None) -> bytes:
    """The value of the extension, in DER."""
    collection = {"result": Record(CLAIMS_TYPE, msgspec.json.encode(claims), cmw.RESULT)}
    if evidence is not None:
        members = msgspec.to_builtins(evidence, builtin_types=(bytes,))
        collection["evidence"] = Record(EVIDENCE_TYPE, cbor.encode(members), cmw.EVIDENCE)
    return cmw.encode(collection)


def decode(value: bytes) -> Extension:
    """Read the value of the extension. Raises `Malformed`; nothing but what `encode` writes is read."""
    try:
        collection = cmw.decode(value)
        claims = _claims.decode(_content(collection, "result", CLAIMS_TYPE))
        evidence = _evidence(collection) if "evidence" in collection else None
    except (MalformedWrapper, CborError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Malformed(f"the claims cannot be read: {exc}") from exc
    if encode(claims, evidence) != value:
        raise Malformed("the claims are not in the form in which a Steward writes them")
    return Extension(claims, evidence)


def _evidence(collection: dict[str, Record]) -> CertifiedEvidence:
    members: Any = cbor.decode(_content(collection, "evidence", EVIDENCE_TYPE))
    return msgspec.convert(members, CertifiedEvidence, builtin_types=(bytes,))


def _content(collection: dict[str, Record], label: str, expected: str) -> bytes:
    record = collection.get(label)
    if record is None:
        raise Malformed(f"the claims cannot be read: there is no {label!r}")
    if record.type != expected:
        raise Malformed(f"the {label} is of the type {record.type!r}, not {expected}")
    return record.content
