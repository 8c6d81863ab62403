"""Reference values in a signed statement, which travel from whoever packages to whoever accepts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from enarx_deploy.errors import PackageError
from enarx_deploy.models import ReferenceValues
from enarx_deploy.trusted_signers import signing_faults
from enarx_signing import Signer, Signers, SigningKey, reference_values

MAX_SIZE = reference_values.MAX_SIZE


def signed(values: ReferenceValues, keys: Sequence[SigningKey]) -> bytes:
    """An envelope with the values. Raises UsageError where a key cannot be used."""
    with signing_faults():
        return reference_values.sign(values.package, msgspec.to_builtins(values), keys)


def read(envelope: bytes, signers: Signers, at: datetime, place: str) -> tuple[ReferenceValues, tuple[Signer, ...]]:
    """The values, and who signed them. Raises VerificationRefused, PackageError; `place` goes before the message."""
    with signing_faults(place):
        found = reference_values.verify(envelope, signers, at)
    try:
        return msgspec.convert(found.values, ReferenceValues), found.signers
    except msgspec.ValidationError as error:
        raise PackageError(f"{place}: not reference values: {error}", hint="was it made by another version?") from error
