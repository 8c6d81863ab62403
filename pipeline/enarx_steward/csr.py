"""Certificate requests (PKCS#10, RFC 2986) in the form that Enarx's Keeps send.

Of a request only three things are used: the key, the proof that the sender holds it, and the evidence. Names and
lifetimes come from the policy; a request that asks for anything else by attribute or extension is refused, and its
subject is not looked at.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from enarx_attestation import der, oids
from enarx_attestation.der import DerError, Element

from .errors import MalformedRequest

MAX_SIZE: Final = 262_144
"""Most bytes of a request; one with an SGX quote and its collateral has about 15,000."""

_EXTENSION_REQUEST: Final = der.oid("1.2.840.113549.1.9.14")
_ATTRIBUTES: Final = 0xA0  # [0] IMPLICIT SET OF Attribute
_KIND_OF_EXTENSION: Final = {der.oid(dotted): kind for dotted, kind in oids.KIND_OF_OID.items()}
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_HASH_OF_ALGORITHM: Final = {
    # RFC 5758, section 3.2: the parameters are absent.
    der.oid("1.2.840.10045.4.3.2"): SHA256(),
    der.oid("1.2.840.10045.4.3.3"): SHA384(),
}


class Marking(msgspec.Struct, frozen=True):
    """The evidence in a request: its kind by the extension's identifier, and the extension's value."""

    kind: str
    value: bytes


class Request(msgspec.Struct, frozen=True):
    """A request whose sender holds the key. `spki` is the key as the request has it, in DER."""

    key: ec.EllipticCurvePublicKey
    spki: bytes
    marking: Marking | None


def read(data: bytes) -> Request:
    """Read a request and check its signature. Raises `MalformedRequest`.

    1. It is DER throughout, version 1, at most 262,144 bytes.
    2. Its key is on P-256 or P-384, encoded as keys are in certificates.
    3. It asks for nothing but one extension that carries evidence, not critical.
    4. It is signed by its key with ECDSA and SHA-256 or SHA-384.
    """
    if len(data) > MAX_SIZE:
        raise MalformedRequest(f"a certificate request has at most {MAX_SIZE} bytes, not {len(data)}")
    try:
        return _read(data)
    except DerError as exc:
        raise MalformedRequest(f"not a certificate request: {exc}") from exc


def _read(data: bytes) -> Request:
    whole = der.whole(data, der.SEQUENCE)
    info, algorithm, signature = der.fields(whole, der.SEQUENCE, der.SEQUENCE, der.BIT_STRING)
    version, _subject, spki, attributes = der.fields(info, der.INTEGER, der.SEQUENCE, der.SEQUENCE, _ATTRIBUTES)
    if der.integer(version) != 0:
        raise MalformedRequest("the certificate request is not of version 1")
    key = _read_key(spki.raw)
    marking = _read_marking(attributes)
    _check_signature(key, algorithm, der.bit_string(signature), info.raw)
    return Request(key, spki.raw, marking)


def _read_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise MalformedRequest("the public key cannot be read") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise MalformedRequest("the public key is not on P-256 or P-384")
    # One key, one spelling: the evidence is bound to these bytes and the certificate repeats them.
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise MalformedRequest("the public key is not encoded as an uncompressed point on a named curve")
    return key


def _read_marking(attributes: Element) -> Marking | None:
    found = list(der.children(attributes))
    if not found:
        return None
    if len(found) > 1:
        raise MalformedRequest("the certificate request has more than one attribute")
    identifier, values = der.fields(found[0], der.OID, der.SET)
    if identifier.content != _EXTENSION_REQUEST:
        raise MalformedRequest("the certificate request has an attribute other than the request for extensions")
    extensions = list(der.children(der.only(values, der.SEQUENCE)))
    if not extensions:
        return None
    if len(extensions) > 1:
        raise MalformedRequest("the certificate request asks for more than one extension")
    identifier, value = der.fields(extensions[0], der.OID, der.OCTET_STRING)
    kind = _KIND_OF_EXTENSION.get(identifier.content)
    if kind is None:
        raise MalformedRequest("the certificate request asks for an extension that is not evidence")
    return Marking(kind, der.octets(value))


def _check_signature(key: ec.EllipticCurvePublicKey, algorithm: Element, signature: bytes, signed: bytes) -> None:
    hash_ = _HASH_OF_ALGORITHM.get(der.only(algorithm, der.OID).content)
    if hash_ is None:
        raise MalformedRequest("the certificate request is not signed with ECDSA and SHA-256 or SHA-384")
    try:
        key.verify(signature, signed, ec.ECDSA(hash_))
    except InvalidSignature as exc:
        raise MalformedRequest("the certificate request is not signed by its key") from exc
