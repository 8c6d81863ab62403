"""AWS Nitro Enclaves: a COSE_Sign1 document with its own chain (Nitro Enclaves attestation process, AWS)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from . import cose
from .anchors import Anchors
from .cbor import CborError
from .checks import Rule, Sheet
from .errors import InvalidArgument, MalformedCollateral, MalformedEvidence, PolicyError
from .model import Claims, Collateral, Evidence
from .section import Section, constrained, misplaced
from .x509 import Certificate, public_key, read_certificate, signed_by

MAX_SIZE: Final = 1 << 15
"""Most bytes of a document."""
_DOCUMENT = "AWS Nitro Enclaves attestation process, "

RULES: Final = {
    "nitro.root.unpinned": Rule("The chain does not begin with AWS's root for Nitro Enclaves.", _DOCUMENT + "3.2.3"),
    "nitro.chain": Rule("The certificates do not sign one another in order.", _DOCUMENT + "3.2.3"),
    "nitro.certificate.validity": Rule(
        "Certificates of enclaves last hours: ask for a new document.", "RFC 5280, section 4.1.2.5"
    ),
    "nitro.document.signature": Rule("The document was altered.", _DOCUMENT + "3.2.1"),
    "nitro.policy.workload": Rule("Add the image's PCR0, or the signer's PCR8, to `pcrs`.", _DOCUMENT + "PCR"),
    "nitro.policy.pcrs": Rule("Start the enclave from the image, role or instance that the policy lists.", "PCR"),
    "nitro.policy.debug": Rule("An enclave in debug mode has PCR0 of zeros: start it without --debug-mode.", "PCR"),
    "nitro.policy.age": Rule("Ask for a new document.", _DOCUMENT + "timestamp"),
}
REQUIRED: Final = frozenset(name for name in RULES if ".policy." not in name)

Pcr = Annotated[bytes, msgspec.Meta(min_length=32, max_length=64)]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload, as AWS defines it (section 3.1); sizes in bytes."""

    module_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    digest: Literal["SHA384"]
    timestamp: Annotated[int, msgspec.Meta(gt=0, lt=253_402_300_800_000)]
    """Milliseconds since 1970, of years that a date can have."""
    pcrs: Annotated[dict[int, Pcr], msgspec.Meta(min_length=1, max_length=32)]
    certificate: Annotated[bytes, msgspec.Meta(min_length=1, max_length=1024)]
    cabundle: Annotated[list[Annotated[bytes, msgspec.Meta(min_length=1, max_length=1024)]], msgspec.Meta(min_length=1)]
    public_key: Annotated[bytes, msgspec.Meta(max_length=1024)] | None = None
    user_data: Annotated[bytes, msgspec.Meta(max_length=512)] | None = None
    nonce: Annotated[bytes, msgspec.Meta(max_length=512)] | None = None


class NitroEvidence(Evidence, frozen=True, kw_only=True):
    """A document that was read."""

    signed: cose.Sign1
    document: Document
    chain: tuple[Certificate, ...]
    """Root first, the enclave's own last."""


class NitroClaims(Claims, frozen=True, kw_only=True):
    """An enclave. `report_data` is its user data; `nonce` and `public_key` are apart."""

    module_id: str
    issued: datetime
    verified_at: datetime
    pcrs: Mapping[str, str]
    nonce: str | None
    public_key: str | None


class NitroPolicy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[nitro]`."""

    pcrs: Mapping[str, tuple[str, ...]] = {}
    """By number: accepted values, hexadecimal. "0" (image) or "8" (signer) is needed, or else `any_workload`."""
    debug: Literal["any", "forbid"] = "forbid"
    maximum_age_seconds: int = 300
    """Most seconds between the document's timestamp and the verification."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(number.isdecimal() and int(number) < 32 for number in self.pcrs):
            raise PolicyError("`pcrs`: the key of a register is its number, 0 to 31")
        if self.pcrs and not {"0", "8"} & self.pcrs.keys() and not self.any_workload:
            raise PolicyError("`pcrs` names neither the image (0) nor the signer (8)")
        if not self.any_workload:
            constrained(self, "pcrs")
        elif {"0", "8"} & self.pcrs.keys():
            raise PolicyError("`any_workload` and the image (0) or signer (8) in `pcrs` contradict each other")


def recognise(data: bytes) -> bool:
    """Whether the bytes begin like a COSE_Sign1 document with AWS's protected header."""
    return data[:7] in {b"\x84\x44\xa1\x01\x38\x22\xa0", b"\xd2\x84\x44\xa1\x01\x38\x22"} and b"module_id" in data[:64]


def parse(data: bytes) -> NitroEvidence:
    """Read a document. Raises `MalformedEvidence`."""
    try:
        signed = cose.read_sign1(data)
        document = msgspec.convert(cose.payload_map(signed), Document, strict=True)
        chain = tuple(read_certificate(found) for found in (*document.cabundle, document.certificate))
    except (CborError, msgspec.ValidationError, MalformedCollateral) as exc:
        raise MalformedEvidence(f"not a Nitro document: {exc}") from exc
    if len(chain) > 8:
        raise MalformedEvidence("the chain of the document is too long")
    return NitroEvidence(kind="nitro", raw=data, signed=signed, document=document, chain=chain)


def verify(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> NitroClaims:  # noqa: ARG001 — one shape for all kinds; the document carries its chain
    """Verify a document.

    1. Its chain begins with a pinned root.
    2. Each certificate issued the next one; all but the last are authorities; the key is on P-384.
    3. All are valid at `at`.
    4. The document is signed by the last one.

    Raises `InvalidArgument` for evidence of another kind.
    """
    if not isinstance(evidence, NitroEvidence):
        raise InvalidArgument("nitro.verify needs the evidence that nitro.parse returns")
    sheet, chain, document = Sheet(RULES), evidence.chain, evidence.document
    root = hashlib.sha256(chain[0].raw).hexdigest()
    sheet.check("nitro.root.unpinned", root in anchors.nitro_roots, ", ".join(sorted(anchors.nitro_roots)), root)
    links = zip(chain[:1] + chain[:-1], chain, strict=True)
    signed = all(_issued(parent, child) for parent, child in links) and not chain[-1].is_authority
    sheet.check("nitro.chain", signed, "each certificate issued the next", "so it is" if signed else "a broken link")
    first, last = max(found.not_before for found in chain), min(found.not_after for found in chain)
    sheet.check("nitro.certificate.validity", first <= at <= last, f"{first} to {last}", at)
    valid = cose.verified(evidence.signed, public_key(chain[-1]))
    sheet.check(
        "nitro.document.signature", valid, "ES384 of the enclave's certificate", "valid" if valid else "invalid"
    )
    checks = sheet.done()
    sound = all(check.ok for check in checks)
    return NitroClaims(
        kind="nitro",
        hardware=sound,
        status="Verified" if sound else "Unverified",
        evidence_sha256=evidence.sha256,
        report_data=(document.user_data or b"").hex(),
        checks=checks,
        module_id=document.module_id,
        issued=datetime.fromtimestamp(document.timestamp / 1000, UTC),
        verified_at=at,
        pcrs={str(number): value.hex() for number, value in sorted(document.pcrs.items())},
        nonce=None if document.nonce is None else document.nonce.hex(),
        public_key=None if document.public_key is None else document.public_key.hex(),
        valid_until=last,
    )


def appraise(claims: Claims, policy: NitroPolicy, sheet: Sheet) -> None:
    """Compare an enclave with the section, rule by rule. Raises `InvalidArgument` for claims of another kind."""
    if not isinstance(claims, NitroClaims):
        raise InvalidArgument("nitro.appraise needs NitroClaims")
    image = claims.pcrs.get("0", "")
    if policy.any_workload:
        sheet.skip("nitro.policy.workload", "the policy accepts any workload", f"PCR0 {image}")
    else:
        named = _registers(claims, policy, {"0", "8"})
        sheet.check("nitro.policy.workload", not misplaced(named), "PCR0 or PCR8 as listed", f"PCR0 {image}")
    wrong = misplaced(_registers(claims, policy, policy.pcrs.keys() - {"0", "8"}))
    sheet.check("nitro.policy.pcrs", not wrong, "as the policy lists them", "; ".join(wrong) or "so they are")
    debug = set(image) <= {"0"}
    sheet.check("nitro.policy.debug", not debug or policy.debug == "any", "PCR0 is not zero", image)
    age = claims.verified_at - claims.issued
    young = timedelta() <= age <= timedelta(seconds=policy.maximum_age_seconds)
    sheet.check("nitro.policy.age", young, f"0 to {policy.maximum_age_seconds} s", f"{age.total_seconds()} s")


def _issued(parent: Certificate, child: Certificate) -> bool:
    key: Any = public_key(parent)
    p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    able = parent.is_authority and parent.may_sign() and not child.unknown_critical
    return p384 and able and child.issuer == parent.subject and signed_by(child, key, "ecdsa-sha384")


def _registers(claims: NitroClaims, policy: NitroPolicy, numbers: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Registers that the policy lists. An empty list of values accepts none, for it was written down."""
    return {
        f"PCR{number}": (claims.pcrs.get(number, "absent"), policy.pcrs[number] or ("none",))
        for number in sorted(numbers)
        if number in policy.pcrs
    }
