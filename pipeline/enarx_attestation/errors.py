"""Every error that this library raises.

    AttestationError
    ├── MalformedEvidence      the bytes are not evidence of the kind asked for
    ├── MalformedCollateral    a certificate, revocation list or vendor statement cannot be read
    ├── UnknownKind            no parser is known for this kind, or none recognises the bytes
    ├── PolicyError            the policy is not one that can be applied
    └── InvalidArgument        the caller's own argument is wrong (a time without a zone, a nonce too short…)

Evidence that can be read and is not good is no error: `verify` and `appraise` answer with failed checks.
"""

from __future__ import annotations


class AttestationError(Exception):
    """Head of the tree: `str(error)` is one line of what and where, `hint` one line of what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class MalformedEvidence(AttestationError):
    """The bytes cannot be read as evidence; nothing can be said about the Keep."""


class MalformedCollateral(AttestationError):
    """An endorsement (certificate, revocation list, TCB info, identity) cannot be read."""


class UnknownKind(AttestationError):
    """The kind of evidence is not in the table of kinds, or no kind recognises the bytes."""


# msgspec reports a ValueError raised while a Struct is made together with the path of the field.
class PolicyError(AttestationError, ValueError):
    """The policy contradicts itself, is unreadable, or constrains nothing."""


class InvalidArgument(AttestationError, ValueError):
    """An argument of the caller's is outside what the function documents."""
