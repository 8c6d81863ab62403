"""Signed reference values: what a package must measure to on a backend, as an in-toto statement about the package.

Whoever writes a Steward's policy, or verifies a service, takes them from the owner's signature and not from whoever
hands them over (RFC 9334, section 8.3: a Reference Value Provider's word). The predicate is the record of `attest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from . import dsse, statement
from .errors import MalformedEnvelope, RefusedSignature
from .keys import SigningKey
from .trust import Signer, Signers

PREDICATE_TYPE: Final = "urn:enarx-deploy:reference-values:v1"
MAX_SIZE: Final = 1 << 20
"""Most bytes of such an envelope."""
SUBJECT: Final = "package"


class Vouched(msgspec.Struct, frozen=True):
    """Reference values whose signature was checked: who signed, and the predicate as it was signed."""

    signers: tuple[Signer, ...]
    package: str
    values: dict[str, Any]


def sign(package: str, values: Mapping[str, Any], keys: Iterable[SigningKey]) -> bytes:
    """Sign what a package (`sha256:<hex>`) must measure to. Raises KeyFault."""
    payload = statement.about(package, SUBJECT, PREDICATE_TYPE, values)
    return dsse.sign(payload, statement.PAYLOAD_TYPE, keys)


def verify(envelope: bytes, signers: Signers, at: datetime) -> Vouched:
    """Check that a trusted key signed reference values of one package. Raises MalformedEnvelope, RefusedSignature."""
    found = dsse.read(envelope, limit=MAX_SIZE)
    if found.payload_type != statement.PAYLOAD_TYPE:
        raise MalformedEnvelope(f"the envelope holds {found.payload_type!a}, not {statement.PAYLOAD_TYPE}")
    good = signers.verify(found, at)
    said = statement.read(found.payload)
    if said.predicate_type != PREDICATE_TYPE:
        raise RefusedSignature(f"what was signed is {said.predicate_type!a}, and not reference values")
    package = said.predicate.get("package")
    if not isinstance(package, str) or len(said.subject) != 1 or not said.is_about(package):
        raise RefusedSignature("what was signed is not about the package that it names")
    return Vouched(good, package, said.predicate)
