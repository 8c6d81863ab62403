"""Holds the evidence of a Keep that no hardware protects to reference values.

Such evidence is the Keep's own word, which its host can make it say. What differs is found out, such as another image
or package than was meant to run, and no attack: the answer rests on the Steward that issued the certificate.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from enarx_attestation import VENDOR_ANCHORS, AttestationError, Collateral, Policy, appraise, parse, verify

from .certificate import Leaf
from .checks import Check, check
from .hardware import UNPROTECTED, binding_of, claimed, finding


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller expects, and who says so."""

    policy: Policy
    policy_from: str


def compare_certified(leaf: Leaf, expected: Expected, at: datetime) -> list[Check]:
    """Compare the evidence in a certificate, whose key the peer holds.

    1. `evidence.present`: the certificate holds evidence.
    2. `evidence.claimed`: it is the evidence that the claims speak of.
    3. `evidence.form`: it can be read, and is of a Keep without hardware.
    4. `evidence.bound`: it answered a challenge.
    5. Every check of `enarx_attestation.verify` and `appraise`, by its own id.
    """
    extension = leaf.attested
    shown = None if extension is None else extension.evidence
    if extension is None or shown is None:
        return [check("evidence.present", False, "the certificate holds no evidence")]
    checks = [
        check("evidence.present", True, f"{len(shown.data):,} bytes of {shown.kind} evidence in the certificate"),
        check("evidence.claimed", *claimed(extension, shown)),
    ]
    if shown.kind not in UNPROTECTED:
        told = f"{shown.kind} evidence; {expected.policy_from} is about a Keep without hardware"
        return [*checks, check("evidence.form", False, told)]
    try:
        evidence = parse(shown.data, shown.kind)
    except AttestationError as error:
        return [*checks, check("evidence.form", False, str(error))]
    checks.append(check("evidence.form", True, f"well-formed {shown.kind} evidence"))
    binding = binding_of(leaf, extension, shown, expected.policy)
    if binding is None:
        return [*checks, check("evidence.bound", False, "it answered no challenge, and may be of any age")]
    verdict = appraise(verify(evidence, Collateral(), VENDOR_ANCHORS, at), expected.policy, expected=binding)
    return [*checks, *map(finding, verdict.checks)]
