"""The signature of a package: a small statement about its digest, and about what else is said of it.

It is an in-toto statement whose subject is the package, in a DSSE envelope. Its predicate names the statements that
describe the package, such as its SBOM, by the SHA-256 of their bytes: so whoever checks the signature knows which
descriptions the signer stands for, and that none was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from . import dsse, signed_statement, statement
from .errors import MalformedEnvelope, RefusedSignature
from .keys import SigningKey
from .trust import Signer, Signers

PREDICATE_TYPE: Final = "urn:enarx-deploy:package-signature:v1"
MAX_SIZE: Final = 1 << 16
"""Most bytes of such an envelope."""
SUBJECT: Final = "package"


class Signed(msgspec.Struct, frozen=True):
    """A signature that was checked: who signed, and the digests of the descriptions by kind (`sha256:<hex>`)."""

    signers: tuple[Signer, ...]
    described: dict[str, str]


class _Predicate(msgspec.Struct, frozen=True):
    described: dict[str, str] = {}


def sign(package: str, described: Mapping[str, str], keys: Iterable[SigningKey]) -> bytes:
    """Sign a package, by its digest, and the digests of what describes it. Raises KeyFault."""
    payload = statement.about(package, SUBJECT, PREDICATE_TYPE, {"described": dict(described)})
    return dsse.sign(payload, statement.PAYLOAD_TYPE, keys)


def verify(envelope: bytes, package: str, signers: Signers, at: datetime) -> Signed:
    """Check that a trusted key signed exactly this package.

    1. The envelope can be read, and holds an in-toto statement.
    2. A key that is trusted at that time signed it.
    3. The statement is a package's signature, and about this package alone.

    Raises MalformedEnvelope, RefusedSignature.
    """
    good, said = signed_statement.read(
        envelope, PREDICATE_TYPE, "not the signature of a package", signers, at, MAX_SIZE
    )
    if not said.is_about(package):
        raise RefusedSignature(
            f"what was signed is not about the package {package}", hint="was the package changed after it was signed?"
        )
    try:
        return Signed(good, msgspec.convert(said.predicate, _Predicate).described)
    except msgspec.ValidationError as exc:
        raise MalformedEnvelope(f"the signature of the package: {exc}") from exc
