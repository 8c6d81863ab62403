"""Every error that the Steward raises.

StewardFault
├── ConfigurationError     key, root, policy or state cannot be used: the Steward does not start
├── MalformedRequest       the request is not one that can be read                       HTTP 400
├── Unattested             a good request without evidence (Enarx's protocol)            HTTP 401
├── Refused                evidence that was read, appraised and refused                 HTTP 403
├── Overloaded             too many challenges are open                                  HTTP 503
└── Unavailable            the database cannot be used, so that nothing may be issued    HTTP 503
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_attestation import Check

if TYPE_CHECKING:
    from .appraisal import Appraisal


class StewardFault(Exception):
    """Head of the tree: `str(fault)` is one line of what and where, `hint` one line of what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(StewardFault):
    """The Steward's own files cannot be used as they are."""


class MalformedRequest(StewardFault):
    """The request cannot be read; nothing was appraised."""


class Unattested(StewardFault):
    """The certificate request is signed and well-formed, and carries no evidence."""


class Refused(StewardFault):
    """The answer is no. `checks` are all checks that were made; `failed` the ids of those that failed."""

    def __init__(self, checks: tuple[Check, ...], appraisal: Appraisal | None = None) -> None:
        failed = [check for check in checks if not check.ok]
        super().__init__(
            "refused: " + ", ".join(check.id for check in failed), hint=" ".join(check.hint for check in failed)
        )
        self.checks = checks
        self.failed = tuple(check.id for check in failed)
        self.appraisal = appraisal


class Overloaded(StewardFault):
    """More challenges are open than the Steward remembers; they expire by themselves."""


class Unavailable(StewardFault):
    """The database does not do what it is asked: what cannot be logged is not issued."""
