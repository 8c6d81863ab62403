"""COSE_Sign1 with ECDSA P-384 and SHA-384 (RFC 9052, section 4.2; RFC 9053, section 2.1): ES384, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from . import cbor
from .cbor import CborError
from .x509 import PublicKey, signature_valid

_SIGN1_TAG = 18
_ALGORITHM, _ES384 = 1, -35


class Sign1(msgspec.Struct, frozen=True, kw_only=True):
    """A signed document that was read; the signature is not verified."""

    protected: bytes
    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The Sig_structure, over which the signature is made; no external data."""
        return cbor.encode(["Signature1", self.protected, b"", self.payload])


def read_sign1(data: bytes) -> Sign1:
    """Read a document, tagged or not. Raises `CborError`, also for an algorithm other than ES384."""
    found = cbor.decode(data)
    if isinstance(found, cbor.Tag):
        if found.number != _SIGN1_TAG:
            raise CborError(f"expected COSE_Sign1, not tag {found.number}")
        found = found.value
    if not isinstance(found, list) or len(found) != 4:
        raise CborError("expected COSE_Sign1")
    protected, unprotected, payload, signature = found
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)) or not isinstance(
        unprotected, dict
    ):
        raise CborError("expected COSE_Sign1")
    # The algorithm is signed for only in the protected header; another header might be taken for a critical one.
    if cbor.decode(protected) != {_ALGORITHM: _ES384} or _ALGORITHM in unprotected or len(signature) != 96:
        raise CborError("the algorithm is not ES384")
    return Sign1(protected=protected, payload=payload, signature=signature)


def verified(document: Sign1, key: PublicKey | None) -> bool:
    """Whether the document was signed by `key`, on P-384."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return False
    r, s = (int.from_bytes(half, "big") for half in (document.signature[:48], document.signature[48:]))
    return signature_valid(key, "ecdsa-sha384", encode_dss_signature(r, s), document.signed)


def payload_map(document: Sign1) -> dict[Any, Any]:
    """The payload, which must be a map. Raises `CborError`."""
    found = cbor.decode(document.payload)
    if not isinstance(found, dict):
        raise CborError("the payload is not a map")
    return found
