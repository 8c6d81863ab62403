"""From evidence to a verdict: which collateral it is verified with, and what its report data must commit to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from enarx_attestation import (
    PURPOSE_TLS,
    VENDOR_ANCHORS,
    Anchors,
    Binding,
    Claims,
    Collateral,
    Evidence,
    MalformedCollateral,
    MalformedEvidence,
    Sheet,
    Verdict,
    appraise,
    verify,
)

from .collateral import CollateralSource, MissingCollateral, NoCollateral, gather
from .errors import MalformedRequest, Refused
from .policy import StewardPolicy


class Appraiser:
    """Judges evidence under certain anchors and with a certain source of collateral. Safe to use from many threads."""

    def __init__(self, anchors: Anchors = VENDOR_ANCHORS, source: CollateralSource | None = None) -> None:
        self._anchors = anchors
        self._source = source or NoCollateral()

    def v1(
        self,
        policy: StewardPolicy,
        evidence: Evidence,
        offered: Collateral | None,
        *,
        spki: bytes,
        nonce: bytes,
        package: str | None,
        audience: str,
        at: datetime,
        sheet: Sheet,
        purpose: str = PURPOSE_TLS,
    ) -> tuple[Verdict, str]:
        """Judge evidence that answers a challenge. Returns the package that it commits to, if the verdict is ok.

        That is the one which the requester names; else the one which the evidence names, or, under a policy of
        `measured_package`, which was fixed at launch. Report data that commits to another one does not match.
        Raises `Refused`, `MalformedRequest`.
        """
        found = self._verify(policy, evidence, offered, at, sheet)
        package = package or found.package or _launched(policy, found)
        if package is None:
            raise MalformedRequest(
                "the evidence names no package", hint='send the digest that it commits to as "package": "sha256:…"'
            )
        binding = Binding(purpose=purpose, nonce=nonce, spki=spki, package=package, audience=audience)
        return appraise(found, policy.appraisal, expected=binding), package

    def enarx(
        self,
        policy: StewardPolicy,
        evidence: Evidence,
        offered: Collateral | None,
        *,
        spki: bytes,
        at: datetime,
        sheet: Sheet,
    ) -> tuple[Verdict, str | None]:
        """Judge the evidence in a request of Enarx's, which commits to the key alone. Raises `Refused`.

        It is bound to a package only by what was fixed at launch.
        """
        found = self._verify(policy, evidence, offered, at, sheet)
        binding = Binding(purpose=PURPOSE_TLS, nonce=b"", spki=spki, package="", audience="", form="enarx")
        return appraise(found, policy.appraisal, expected=binding), _launched(policy, found)

    def _verify(
        self, policy: StewardPolicy, evidence: Evidence, offered: Collateral | None, at: datetime, sheet: Sheet
    ) -> Claims:
        section: Any = policy.appraisal.section(evidence.kind)
        if not sheet.check("policy.kind", section is not None, f"a section [{evidence.kind}]"):
            raise Refused(sheet.done())
        try:
            collateral = gather(
                evidence,
                offered,
                self._source,
                at,
                self._anchors,
                revocation=getattr(section, "revocation", "require"),
                requester_counts=policy.requester_counts,
            )
            found = verify(evidence, collateral, self._anchors, at)
        except MissingCollateral as missing:
            what = f"{missing}. {missing.hint}" if missing.hint else str(missing)
            sheet.check("evidence.collateral", False, f"endorsements for {evidence.kind}", what)
        except (MalformedCollateral, MalformedEvidence) as exc:
            sheet.check("evidence.collateral", False, "endorsements that can be read", exc)
        else:
            sheet.check("evidence.collateral", True, f"endorsements for {evidence.kind}", "there are")
            return found
        raise Refused(sheet.done())


def _launched(policy: StewardPolicy, found: Claims) -> str | None:
    """The package that was fixed at launch, where the policy goes by that."""
    section = policy.appraisal.section(found.kind)
    return found.launch_package if section is not None and section.measured_package else None
