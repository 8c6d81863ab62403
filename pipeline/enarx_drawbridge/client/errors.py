"""Every error that the client raises.

ClientFault
├── NotThere       the registry says that there is nothing of that name
│   └── Withdrawn  it was there and was yanked; `reason` is the registry's word for why
├── Refused        the registry, or the provider of identities, does not let the caller
├── Unreachable    there is no answer, or none that is one
└── Damaged        what came is not what its digest names
"""

from __future__ import annotations

from enarx_service.errors import ServiceFault


class ClientFault(ServiceFault):
    """Head of the tree."""


class NotThere(ClientFault):
    """There is nothing of that name, or the caller may not see it."""


class Withdrawn(NotThere):
    """It was yanked."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Refused(ClientFault):
    """The answer is no."""


class Unreachable(ClientFault):
    """Nobody answers, or not as it should be."""


class Damaged(ClientFault):
    """Not what was asked for: damaged on the way, or by the registry."""
