"""Every error that the Steward raises.

StewardFault
├── ConfigurationError     key, root, policy or state cannot be used: the Steward does not start
├── MalformedRequest       the request is not one that can be read                       HTTP 400
├── Unattested             a good request without evidence (Enarx's protocol)            HTTP 401
├── Refused                evidence that was read, appraised and refused                 HTTP 403
├── Overloaded             too many challenges are open                                  HTTP 503
├── SecretUnreadable       the file of a secret cannot be used, so that it cannot be released   HTTP 503
└── Unavailable            the database cannot be used, so that nothing may be issued    HTTP 503
"""

from __future__ import annotations

from enarx_attestation import Check
from enarx_service.errors import ConfigurationError, ServiceFault

from .appraisal import Appraisal

__all__ = [
    "ConfigurationError",
    "MalformedRequest",
    "Overloaded",
    "Refused",
    "StewardFault",
    "Unattested",
    "Unavailable",
]


StewardFault = ServiceFault
"""Head of the tree."""


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


class SecretUnreadable(StewardFault):
    """The policy names a file that is not there or not private. What is wrong with it is for the log alone."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"secret {name!r} cannot be read by the Steward", hint="its log says why")
        self.why = why


class Unavailable(StewardFault):
    """The database does not do what it is asked: what cannot be logged is not issued."""
