"""RATS Conceptual Messages Wrapper in a certificate (draft-ietf-rats-msg-wrap): the extension `id-pe-cmw`.

The value is the `cbor` choice: an OCTET STRING with a collection, which is a CBOR map from a label to a record of
content type, content and indicator. The CBOR form holds content as it is; the JSON form would hold it in base64.

A registered identifier with short arcs is used because readers that follow RFC 5280, appendix B, accept no arc of 2^28
or more: Go refuses the whole certificate for one, which rules out the identifiers that anyone can make from a UUID.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from . import cbor, der
from .cbor import CborError
from .der import DerError
from .der_encoding import element

OID: Final = "1.3.6.1.5.5.7.1.35"
"""id-pe-cmw."""
EVIDENCE: Final = 4
"""The indicator of evidence."""
RESULT: Final = 8
"""The indicator of an attestation result."""
MAX_SIZE: Final = 40 << 10
"""Most bytes of the extension's value. A TLS peer takes all certificates of a chain in one message, of which rustls
and Go read 64 KiB."""


class MalformedWrapper(ValueError):
    """The value is not a collection in the form in which it is written here."""


class Record(NamedTuple):
    """One conceptual message: its content type, its content, and what kind of message it is."""

    type: str
    content: bytes
    indicator: int


def encode(collection: Mapping[str, Record]) -> bytes:
    """The value of the extension, in DER."""
    return element(der.OCTET_STRING, cbor.encode({label: [*record] for label, record in collection.items()}))


def decode(value: bytes) -> dict[str, Record]:
    """Read the value of the extension. Raises `MalformedWrapper`; nothing but what `encode` writes is read."""
    if len(value) > MAX_SIZE:
        raise MalformedWrapper(f"the extension has at most {MAX_SIZE} bytes, not {len(value)}")
    try:
        found = cbor.decode(der.octets(der.whole(value, der.OCTET_STRING)))
    except (DerError, CborError) as exc:
        raise MalformedWrapper(f"it is not a collection in CBOR: {exc}") from exc
    if not isinstance(found, dict) or not all(isinstance(label, str) for label in found):
        raise MalformedWrapper("it is not a collection of records with names")
    return {label: _record(label, record) for label, record in found.items()}


def _record(label: str, found: object) -> Record:
    match found:
        case [str(type_), bytes(content), int(indicator)] if not isinstance(indicator, bool):
            return Record(type_, content, indicator)
    raise MalformedWrapper(f"{label!r} is not a record of content type, content and indicator")
