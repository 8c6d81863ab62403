"""What a requester is told of the evidence: a record of every check."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from enarx_attestation import Check, Verdict


class Appraisal(msgspec.Struct, frozen=True, kw_only=True):
    """What a requester is told: every check, and, once the evidence was verified, what it is and says."""

    ok: bool
    kind: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    claims: dict[str, Any] | UnsetType = UNSET
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, own: tuple[Check, ...], verdict: Verdict) -> Appraisal:
        """Of the Steward's own checks and a verdict."""
        claims = msgspec.to_builtins(verdict.claims)
        del claims["checks"]  # they are in the verdict's
        ok = verdict.ok and all(check.ok for check in own)
        return cls(ok=ok, kind=verdict.kind, status=verdict.status, claims=claims, checks=own + verdict.checks)
