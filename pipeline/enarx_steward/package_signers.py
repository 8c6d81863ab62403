"""Who signed the package that a Keep runs, as far as the policy trusts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from enarx_signing import Signer, Signers, SigningError, package_signature

MAX_SIGNATURES: Final = 16
"""Most signatures that come with a request."""


class SignedBy(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of the trusted keys that signed; where there are none, why not."""

    keys: tuple[str, ...] = ()
    until: datetime | None = None
    """When the last of these keys ceases to count; None if that is not known."""
    objection: str = "nobody signed the package"


def signed_by(signers: Signers, package: str | None, envelopes: Sequence[bytes], at: datetime) -> SignedBy:
    """Which of `signers` signed exactly this package. What they did not sign is told, and never an error.

    A package that the evidence does not name is signed by nobody.
    """
    if package is None:
        return SignedBy(objection="the evidence names no package")
    if not len(signers):
        return SignedBy(objection="nobody's signature is asked for")
    found: dict[str, Signer] = {}
    objections = []
    for envelope in envelopes:
        try:
            signed = package_signature.verify(envelope, package, signers, at)
        except SigningError as exc:
            objections.append(str(exc))
        else:
            found |= {signer.key.id: signer for signer in signed.signers}
    if found:
        return SignedBy(keys=tuple(sorted(found)), until=_last(found.values()), objection="")
    return SignedBy(objection="; ".join(objections) or "nobody signed the package")


def _last(signers: Iterable[Signer]) -> datetime | None:
    latest: datetime | None = None
    for signer in signers:
        ends = [end for end in (signer.not_after, signer.revoked_at) if end is not None]
        if not ends:
            return None
        latest = min(ends) if latest is None else max(latest, min(ends))
    return latest
