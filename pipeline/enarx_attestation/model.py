"""The records that pass between `parse`, `verify` and `appraise`.

Bytes in claims are lower-case hexadecimal text, so that a claim reads the same in a policy, in JSON and on a screen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

from .checks import Check
from .errors import InvalidArgument


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that was read and nothing more: every field is still the attester's or the host's word."""

    kind: str
    raw: bytes

    @property
    def sha256(self) -> str:
        """Digest of the evidence as received, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()


class Collateral(msgspec.Struct, frozen=True, kw_only=True):
    """What endorses evidence: certificates, revocation lists, TCB statements. Each kind has its own sub-class."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What evidence says, together with every check by which that was verified.

    A record without its checks is worth nothing: `appraise` refuses claims of which a check failed, or which lack a
    check that the verification of their kind always makes. Hence no claims become trusted by being constructed,
    decoded or copied in part.
    """

    kind: str
    hardware: bool
    """Whether hardware isolates the Keep from its host."""
    status: str
    """The vendor's word for the platform's patch level; `Verified` or `Unverified` where the vendor has none."""
    evidence_sha256: str
    """Names the evidence in a log. No key against replay: who has a signature can write it in another way."""
    report_data: str
    """The bytes that the Keep asked to have attested, 64 for most kinds."""
    package: str | None = None
    """`sha256:<hex>` of the package where the evidence itself names it."""
    launch_package: str | None = None
    """`sha256:<hex>` in the field that the launcher fixes (HOST_DATA, MRCONFIGID, CONFIGID), if it is meant so."""
    valid_until: datetime | None = None
    """When the first of the certificates and statements behind the claims ceases to hold; nothing made of the claims
    should outlive it. None where nothing ends."""
    checks: tuple[Check, ...] = ()

    @property
    def verified(self) -> bool:
        """True if checks were made and none failed. This is not yet a verdict: no policy has been applied."""
        return bool(self.checks) and all(check.ok for check in self.checks)


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What the report data is expected to commit to; see `binding.report_data`.

    `form` is `v1`, or `enarx` for the hash of the public key alone, which only a policy with `legacy_binding` accepts.
    """

    purpose: str
    nonce: bytes
    spki: bytes
    package: str
    audience: str
    form: Literal["v1", "enarx"] = "v1"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: all checks of verification and appraisal. `ok` is computed from them, and cannot be set."""

    kind: str
    status: str
    claims: Claims
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if there are checks and each of them passed or was named off."""
        return bool(self.checks) and all(check.outcome in {"passed", "skipped"} for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed, in order."""
        return tuple(check for check in self.checks if not check.ok)

    def to_builtins(self) -> dict[str, Any]:
        """`{"ok", "kind", "status", "claims", "checks"}` of plain JSON values; the claims without their checks."""
        claims = msgspec.to_builtins(self.claims)
        del claims["checks"]
        return {
            "ok": self.ok,
            "kind": self.kind,
            "status": self.status,
            "claims": claims,
            "checks": msgspec.to_builtins(self.checks),
        }

    def to_json(self) -> bytes:
        """The same as one line of JSON."""
        return msgspec.json.encode(self.to_builtins())


def require(condition: bool, message: str, error: Callable[[str], Exception] = InvalidArgument) -> None:
    """Raise `error(message)` unless `condition` holds."""
    if not condition:
        raise error(message)
