"""Whether a certificate is on its issuer's revocation list (RFC 5280, section 6.3)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from .anchors import Authority
from .checks import Sheet
from .x509 import Algorithm, Certificate, RevocationList, signed_by

State = Literal["good", "revoked", "stale", "absent", "damaged"]
"""`stale`: there are authentic lists, and none is current. `absent`: there is no list of the issuer's. `damaged`: there
is one that nobody signed so, and no current one of the issuer's."""

Mode = Literal["require", "prefer", "off"]
"""Of a policy. `prefer` accepts that a list is absent or stale, not that it is damaged: whoever can damage a list could
take a revocation back. `off` does not ask. A certificate that an authentic list names is refused in every mode: a
revocation that was seen is never forgotten."""


def authentic(issuer: Authority, lists: Iterable[RevocationList], algorithm: Algorithm) -> tuple[RevocationList, ...]:
    """The lists that `issuer` signed."""
    if not issuer.certificate.may_sign(6):
        return ()
    return tuple(
        found
        for found in lists
        if found.issuer == issuer.certificate.subject
        and not found.unknown_critical
        and signed_by(found, issuer.key, algorithm)
    )


def state(
    certificates: Iterable[Certificate], lists: Iterable[RevocationList], at: datetime, *, damaged: bool = False
) -> State:
    """Where `certificates` stand at the time `at` by authentic `lists` of their common issuer.

    `damaged` says that there are others, which are nobody's.
    """
    lists = tuple(lists)
    if any(certificate.serial in found.serials for certificate in certificates for found in lists):
        return "revoked"
    if any(found.current_at(at) for found in lists):
        return "good"
    if damaged:
        return "damaged"
    return "stale" if lists else "absent"


def worst(states: Iterable[State]) -> State:
    """The one answer for several lists that must all be consulted."""
    order: tuple[State, ...] = ("good", "stale", "absent", "damaged", "revoked")
    return max(states, key=order.index, default="absent")


def appraise(found: str, mode: Mode, sheet: Sheet, id: str) -> None:
    """Write the check `id` for a claim of revocation state under a policy's mode."""
    if mode == "off" and found != "revoked":
        sheet.skip(id, "the policy names revocation off", found)
    elif mode == "prefer" and found in {"stale", "absent"}:
        sheet.skip(id, "the policy prefers a current revocation list and does not require it", found)
    else:
        sheet.check(id, found == "good", "not on a current revocation list", found)
