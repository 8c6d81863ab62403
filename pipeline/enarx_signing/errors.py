"""Every error that this room raises.

SigningError
├── KeyFault               a key cannot be read, made or used
├── MalformedEnvelope      an envelope, or the statement in it, cannot be read
├── RefusedSignature       an envelope was read, and no trusted key signed what was expected
└── TrustFault             the list of trusted keys cannot be used as it is
"""

from __future__ import annotations


class SigningError(Exception):
    """Head of the tree: `str(error)` is one line of what and where, `hint` one line of what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class KeyFault(SigningError):
    """The key is of a kind that is not used here, is not where it should be, or does not open."""


class MalformedEnvelope(SigningError):
    """The bytes are not what they should be; nothing was verified."""


class RefusedSignature(SigningError):
    """The answer is no."""


class TrustFault(SigningError):
    """Nobody is trusted by a list that is wrong."""
