"""What a Keep is given once its evidence is accepted: names, for as long as what was verified holds."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from enarx_attestation import Sheet

from .grants import Grant
from .policy import StewardPolicy
from .workload import Workload


def give(
    policy: StewardPolicy, found: Workload, valid_until: datetime | None, now: datetime, sheet: Sheet
) -> Grant | None:
    """The grant for a workload, with a lifetime that ends no later than what was verified; None if a check failed.

    1. The package is an allowed one, if any are listed, and not a denied one; one that is not known is neither.
    2. One of the policy's signers signed it, if there are any, with a key that counts now.
    3. A rule or the section of its kind gives it names.
    4. What endorses the evidence, and the signer's key, hold for at least the policy's minimum, or for the whole
       lifetime if that is shorter.
    """
    passed = check_package(policy, found, sheet)
    signed = not len(policy.signers) or bool(found.signed.keys)
    passed &= sheet.check("packages.signed", signed, _signers(policy), found.signed.objection or found.signed.keys)
    grant = policy.grant(found)
    passed &= sheet.check("policy.grant", grant is not None, "names for this workload", _shown(found))
    if grant is None:
        return None
    ends = [end for end in (valid_until, found.signed.until) if end is not None]
    left = min([grant.lifetime, *(end - now for end in ends)])
    least = min(policy.minimum_lifetime, grant.lifetime)
    passed &= sheet.check("certificate.lifetime", left >= least, f"at least {least}", left)
    return replace(grant, lifetime=left) if passed else None


def check_package(policy: StewardPolicy, found: Workload, sheet: Sheet) -> bool:
    """Whether the package is an allowed one, if any are listed, and not a denied one."""
    allowed, denied = policy.allowed_packages, policy.denied_packages
    shown = found.package or "not named"
    passed = sheet.check("packages.allowed", not allowed or found.package in allowed, _count(len(allowed)), shown)
    unlisted = not denied or (found.package is not None and found.package not in denied)
    return sheet.check("packages.denied", unlisted, "on no deny-list", shown) and passed


def _count(number: int) -> str:
    return f"one of {number} packages" if number else "any package"


def _signers(policy: StewardPolicy) -> str:
    number = len(policy.signers)
    return f"a signature of one of {number} keys" if number else "nobody's signature"


def _shown(found: Workload) -> str:
    signers = ", ".join(found.signers) or "none"
    return f"{found.kind}: package {found.package}, measurement {found.measurement}, signers {signers}"
