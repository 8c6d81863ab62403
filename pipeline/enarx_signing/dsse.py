"""DSSE, the Dead Simple Signing Envelope, version 1.0: bytes with their type, and who signed both.

What is signed is `pae(type, payload)`, so that no payload can be taken for one of another type, and nothing is parsed
before its signature was checked. The JSON around it is nobody's word: a `keyid` only says which key to try.

Base64 is the standard alphabet with padding and without spare bits, so that one envelope has one form.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from .errors import MalformedEnvelope
from .keys import SigningKey

ENVELOPE_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
MAX_ENVELOPE: Final = 1 << 25
"""Most bytes of an envelope."""
MAX_SIGNATURES: Final = 16
_MAX_SIGNATURE: Final = 1024  # of base64

_Type = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_KeyId = Annotated[str, msgspec.Meta(max_length=255)]


class _Signature(msgspec.Struct, frozen=True, kw_only=True):
    keyid: _KeyId = ""
    sig: Annotated[str, msgspec.Meta(max_length=_MAX_SIGNATURE)]


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    payload: str
    payload_type: _Type
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=MAX_SIGNATURES)]


class Signature(msgspec.Struct, frozen=True):
    """A signature, and the id of the key that is said to have made it; empty where nothing is said."""

    key_id: str
    value: bytes


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope as read: nothing of it is verified."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    @property
    def message(self) -> bytes:
        """What its signatures are over."""
        return pae(self.payload_type, self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """The Pre-Authentication Encoding (DSSE, protocol)."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(payload: bytes, payload_type: str, keys: Iterable[SigningKey]) -> bytes:
    """An envelope, as bytes, with a signature of each key. Raises KeyFault."""
    message = pae(payload_type, payload)
    signatures = tuple(_Signature(keyid=key.public.id, sig=_encoded(key.sign(message))) for key in keys)
    envelope = _Envelope(payload=_encoded(payload), payload_type=payload_type, signatures=signatures)
    return msgspec.json.encode(envelope)


def read(data: bytes, *, limit: int = MAX_ENVELOPE) -> Envelope:
    """Read an envelope of at most `limit` bytes. Raises MalformedEnvelope."""
    if len(data) > limit:
        raise MalformedEnvelope(f"the envelope has {len(data):,} bytes, and at most {limit:,} are read")
    try:
        found = msgspec.json.decode(data, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedEnvelope(f"this is not a DSSE envelope: {exc}") from exc
    signatures = tuple(Signature(one.keyid, _decoded(one.sig, "a signature")) for one in found.signatures)
    return Envelope(
        payload=_decoded(found.payload, "the payload"), payload_type=found.payload_type, signatures=signatures
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedEnvelope(f"{what} of the envelope is not base64") from exc
    if _encoded(data) != text:
        raise MalformedEnvelope(f"{what} of the envelope is base64 with spare bits")
    return data
