"""Read, verify and appraise evidence of Keeps. Pure: no network, no clock, no state.

    evidence = parse(data)
    claims = verify(evidence, collateral, VENDOR_ANCHORS, at)
    verdict = appraise(claims, policy, expected=Binding(...))
    verdict.ok, verdict.failed, verdict.to_json()

Only `Verdict.ok` is an answer; evidence and claims by themselves are not.
"""

from __future__ import annotations

from .anchors import VENDOR_ANCHORS, Anchors
from .binding import PURPOSE_TLS, legacy_report_data, report_data
from .checks import Check, Outcome, Rule, Sheet
from .errors import (
    AttestationError,
    InvalidArgument,
    MalformedCollateral,
    MalformedEvidence,
    PolicyError,
    UnknownKind,
)
from .files import Endorse, appraise_files, appraise_with, endorse_with, load_endorsements, policy_for
from .intel_claims import IntelClaims, SgxClaims, TdxClaims
from .intel_collateral import Endorsements, IntelCollateral, endorse
from .intel_policy import SgxPolicy, TdxPolicy
from .kinds import KINDS, Kind
from .model import Binding, Claims, Collateral, Evidence, Verdict
from .nil import NilPolicy
from .policy import Policy, load_policy, load_policy_as
from .snp import SnpClaims, SnpCollateral
from .snp_policy import SnpPolicy
from .verdict import appraise, parse, verify

__all__ = [
    "KINDS",
    "PURPOSE_TLS",
    "VENDOR_ANCHORS",
    "Anchors",
    "AttestationError",
    "Binding",
    "Check",
    "Claims",
    "Collateral",
    "Endorse",
    "Endorsements",
    "Evidence",
    "IntelClaims",
    "IntelCollateral",
    "InvalidArgument",
    "Kind",
    "MalformedCollateral",
    "MalformedEvidence",
    "NilPolicy",
    "Outcome",
    "Policy",
    "PolicyError",
    "Rule",
    "SgxClaims",
    "SgxPolicy",
    "Sheet",
    "SnpClaims",
    "SnpCollateral",
    "SnpPolicy",
    "TdxClaims",
    "TdxPolicy",
    "UnknownKind",
    "Verdict",
    "appraise",
    "appraise_files",
    "appraise_with",
    "endorse",
    "endorse_with",
    "legacy_report_data",
    "load_endorsements",
    "load_policy",
    "load_policy_as",
    "parse",
    "policy_for",
    "report_data",
    "verify",
]
