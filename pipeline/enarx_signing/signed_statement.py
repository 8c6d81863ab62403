"""A statement in an envelope, read only after a trusted key was found to have signed it."""

from __future__ import annotations

from datetime import datetime

from . import dsse, statement
from .errors import MalformedEnvelope, RefusedSignature
from .trust import Signer, Signers


def read(
    envelope: bytes, predicate_type: str, what: str, signers: Signers, at: datetime, limit: int
) -> tuple[tuple[Signer, ...], statement.Statement]:
    """Who signed, and what they signed, which must be of this type; `what` it is, in words for a refusal.

    Raises MalformedEnvelope, RefusedSignature.
    """
    found = dsse.read(envelope, limit=limit)
    if found.payload_type != statement.PAYLOAD_TYPE:
        raise MalformedEnvelope(f"the envelope holds {found.payload_type!a}, not {statement.PAYLOAD_TYPE}")
    good = signers.verify(found, at)
    said = statement.read(found.payload)
    if said.predicate_type != predicate_type:
        raise RefusedSignature(f"what was signed is {said.predicate_type!a}, {what}")
    return good, said
