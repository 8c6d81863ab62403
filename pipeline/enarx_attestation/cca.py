"""Arm CCA: a platform token and a realm token that it vouches for (RMM specification, A7; draft-ffm-rats-cca-token).

Arm runs no public service for endorsements: the platform's public key comes with the collateral, and is trusted only if
the anchors hold its digest.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from . import cbor, cose
from .anchors import Anchors
from .cbor import CborError, Tag
from .checks import Rule, Sheet
from .errors import InvalidArgument, MalformedCollateral, MalformedEvidence
from .model import Claims, Collateral, Evidence
from .section import Section, constrained, hexadecimal, misplaced

MAX_SIZE: Final = 1 << 15
_TOKEN_TAG, _PLATFORM, _REALM = 399, 44234, 44241
_CHALLENGE, _PROFILE = 10, 265
_IMPLEMENTATION, _INSTANCE, _LIFECYCLE, _PLATFORM_HASH = 2396, 256, 2395, 2402
_RPV, _RAK, _RIM, _REM, _REALM_HASH, _RAK_HASH = 44235, 44237, 44238, 44239, 44236, 44240
_SECURED: Final = range(0x3000, 0x3100)
_HASHES: Final = {"sha-256": "sha256", "sha-512": "sha512"}
_RMM = "Arm RMM specification, section A7.2, "

RULES: Final = {
    "cca.root.unpinned": Rule("Add the platform key's SHA-256 to the anchors if this platform is to be trusted.", _RMM),
    "cca.platform.signature": Rule(
        "The platform token was altered, or is another platform's.", _RMM + "platform token"
    ),
    "cca.realm.binding": Rule(
        "The realm's key is not the one that the platform token vouches for.", _RMM + "challenge"
    ),
    "cca.realm.signature": Rule("The realm token was altered.", _RMM + "realm token"),
    "cca.policy.workload": Rule("Add the realm's initial measurement to `rims`.", _RMM + "RIM"),
    "cca.policy.identity": Rule("The realm or its platform is not one that the policy lists.", _RMM),
    "cca.policy.lifecycle": Rule("The platform is not in its secured state.", _RMM + "security lifecycle"),
}
REQUIRED: Final = frozenset(name for name in RULES if ".policy." not in name)


class CcaCollateral(Collateral, frozen=True, kw_only=True):
    """The platform's public key."""

    platform_key: Any
    platform_key_sha256: str
    """Of its SubjectPublicKeyInfo in DER."""


class CcaEvidence(Evidence, frozen=True, kw_only=True):
    """Two tokens that were read."""

    platform: cose.Sign1
    realm: cose.Sign1
    platform_claims: dict[Any, Any]
    realm_claims: dict[Any, Any]


class CcaClaims(Claims, frozen=True, kw_only=True):
    """A realm. `report_data` is its challenge."""

    rim: str
    rem: tuple[str, ...]
    personalization_value: str
    implementation_id: str
    instance_id: str
    lifecycle: int


class CcaPolicy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[cca]`."""

    rims: tuple[str, ...] = ()
    """Accepted initial measurements, hexadecimal."""
    personalization_values: tuple[str, ...] = ()
    implementation_ids: tuple[str, ...] = ()
    instance_ids: tuple[str, ...] = ()
    lifecycle: Literal["secured", "any"] = "secured"

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {"rims": (32, 64), "personalization_values": (64,), "implementation_ids": (32,), "instance_ids": (33,)}
        hexadecimal(self, sizes)
        constrained(self, "rims")


def read_collateral(platform_key: bytes) -> CcaCollateral:
    """Collateral of a public key in PEM. Raises `MalformedCollateral`."""
    try:
        key = load_pem_public_key(platform_key)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise MalformedCollateral(f"not a public key: {exc}") from exc
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CcaCollateral(platform_key=key, platform_key_sha256=hashlib.sha256(spki).hexdigest())


def recognise(data: bytes) -> bool:
    """Whether the bytes begin like a CCA token."""
    return data[:3] == b"\xd9\x01\x8f"


def parse(data: bytes) -> CcaEvidence:
    """Read a token. Raises `MalformedEvidence`."""
    try:
        found = cbor.decode(data)
        if not isinstance(found, Tag) or found.number != _TOKEN_TAG or not isinstance(found.value, dict):
            raise CborError("expected a collection with tag 399")
        if found.value.keys() != {_PLATFORM, _REALM} or not all(
            isinstance(part, bytes) for part in found.value.values()
        ):
            raise CborError("expected a platform token and a realm token")
        platform, realm = (cose.read_sign1(found.value[name]) for name in (_PLATFORM, _REALM))
        platform_claims, realm_claims = cose.payload_map(platform), cose.payload_map(realm)
        _expect(platform_claims, {_CHALLENGE: bytes, _IMPLEMENTATION: bytes, _INSTANCE: bytes, _LIFECYCLE: int})
        _expect(realm_claims, {_CHALLENGE: bytes, _RPV: bytes, _RAK: bytes, _RIM: bytes, _REM: list, _RAK_HASH: str})
        if not all(isinstance(register, bytes) for register in realm_claims[_REM]):
            raise CborError("an extensible measurement is not bytes")
    except CborError as exc:
        raise MalformedEvidence(f"not a CCA token: {exc}") from exc
    return CcaEvidence(
        kind="cca",
        raw=data,
        platform=platform,
        realm=realm,
        platform_claims=platform_claims,
        realm_claims=realm_claims,
    )


def verify(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> CcaClaims:  # noqa: ARG001 — one shape for all kinds; a token has no window
    """Verify a token.

    1. The platform's key is pinned.
    2. It signed the platform token.
    3. The platform token's challenge is the hash of the realm's key.
    4. That key signed the realm token.

    Raises `InvalidArgument` for evidence or collateral of another kind.
    """
    if not isinstance(evidence, CcaEvidence) or not isinstance(collateral, CcaCollateral):
        raise InvalidArgument("cca.verify needs CcaEvidence and CcaCollateral")
    sheet, platform, realm = Sheet(RULES), evidence.platform_claims, evidence.realm_claims
    known = collateral.platform_key_sha256 in anchors.cca_platform_keys
    sheet.check("cca.root.unpinned", known, "a pinned platform key", collateral.platform_key_sha256)
    signed = cose.verified(evidence.platform, collateral.platform_key)
    sheet.check("cca.platform.signature", signed, "ES384 of the platform", "valid" if signed else "invalid")
    algorithm = _HASHES.get(realm[_RAK_HASH])
    vouched = hashlib.new(algorithm, realm[_RAK]).digest() if algorithm else b""
    bound = bool(vouched) and vouched == platform[_CHALLENGE]
    sheet.check("cca.realm.binding", bound, platform[_CHALLENGE].hex(), vouched.hex() or realm[_RAK_HASH])
    valid = cose.verified(evidence.realm, _realm_key(realm[_RAK]))
    sheet.check("cca.realm.signature", valid, "ES384 of the realm's key", "valid" if valid else "invalid")
    checks = sheet.done()
    sound = all(check.ok for check in checks)
    return CcaClaims(
        kind="cca",
        hardware=sound,
        status="Verified" if sound else "Unverified",
        evidence_sha256=evidence.sha256,
        report_data=realm[_CHALLENGE].hex(),
        checks=checks,
        rim=realm[_RIM].hex(),
        rem=tuple(register.hex() for register in realm[_REM]),
        personalization_value=realm[_RPV].hex(),
        implementation_id=platform[_IMPLEMENTATION].hex(),
        instance_id=platform[_INSTANCE].hex(),
        lifecycle=platform[_LIFECYCLE],
    )


def appraise(claims: Claims, policy: CcaPolicy, sheet: Sheet) -> None:
    """Compare a realm with the section, rule by rule. Raises `InvalidArgument` for claims of another kind."""
    if not isinstance(claims, CcaClaims):
        raise InvalidArgument("cca.appraise needs CcaClaims")
    if policy.any_workload:
        sheet.skip("cca.policy.workload", "the policy accepts any workload", claims.rim)
    else:
        sheet.check("cca.policy.workload", claims.rim in policy.rims, "a listed measurement", claims.rim)
    wrong = misplaced(
        {
            "personalization value": (claims.personalization_value, policy.personalization_values),
            "implementation": (claims.implementation_id, policy.implementation_ids),
            "instance": (claims.instance_id, policy.instance_ids),
        }
    )
    sheet.check("cca.policy.identity", not wrong, "as the policy lists them", "; ".join(wrong) or "so they are")
    secured = policy.lifecycle == "any" or claims.lifecycle in _SECURED
    sheet.check("cca.policy.lifecycle", secured, policy.lifecycle, f"{claims.lifecycle:#x}")


def _expect(claims: dict[Any, Any], types: dict[int, type]) -> None:
    for name, wanted in types.items():
        if not isinstance(claims.get(name), wanted):
            raise CborError(f"claim {name} is missing or not of its type")


def _realm_key(raw: bytes) -> ec.EllipticCurvePublicKey | None:
    """The realm's key: a point, or a COSE_Key (RFC 9053, section 7.1) with one; None if it is not on P-384."""
    if len(raw) != 97:
        try:
            found = cbor.decode(raw)
        except CborError:
            return None
        if not isinstance(found, dict) or found.get(1) != 2 or found.get(-1) != 2:
            return None
        x, y = found.get(-2), found.get(-3)
        raw = b"\x04" + x + y if isinstance(x, bytes) and isinstance(y, bytes) else b""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), raw)
    except ValueError:
        return None
