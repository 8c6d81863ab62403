"""Signed reference values: what a package must measure to on a backend, as an in-toto statement about the package.

Whoever writes a Steward's policy, or verifies a service, takes them from the owner's signature and not from whoever
hands them over (RFC 9334, section 8.3: a Reference Value Provider's word). The predicate is the record of `attest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from . import dsse, signed_statement, statement
from .errors import RefusedSignature
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
    good, said = signed_statement.read(envelope, PREDICATE_TYPE, "and not reference values", signers, at, MAX_SIZE)
    package = said.predicate.get("package")
    if not isinstance(package, str) or len(said.subject) != 1 or not said.is_about(package):
        raise RefusedSignature("what was signed is not about the package that it names")
    return Vouched(good, package, said.predicate)
