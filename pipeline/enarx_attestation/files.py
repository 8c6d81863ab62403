"""From file contents to a verdict: what a command line or a service needs, without reading any file itself.

An endorsements directory, as a mapping of file name to bytes, holds what endorses one piece of evidence:

    vcek.der or vlek.der     AMD: the endorsement key's certificate
    ca_chain.pem             AMD: intermediate and root; optional, as they are pinned
    crl*.der                 AMD: revocation lists; optional if the policy says so
    collateral.json          Intel: TCB info, enclave identity, chains and revocation lists
    platform.pub.pem         Arm CCA: the platform's public key
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from msgspec.structs import replace

from . import cca, intel_collateral, snp
from .anchors import VENDOR_ANCHORS, Anchors
from .checks import Rule, Sheet
from .errors import MalformedCollateral, MalformedEvidence
from .model import Binding, Claims, Collateral, Evidence, Verdict
from .policy import Policy, load_policy
from .snp_report import SIGNING_KEYS, SnpEvidence
from .verdict import appraise, parse, verify

NAMES: Final = ("vcek.der", "vlek.der", "ca_chain.pem", "crl*.der", "collateral.json", "platform.pub.pem")
"""Patterns of the names that are looked at."""
MAX_FILES: Final = 64
"""Most files that are looked at."""


RULES: Final = {
    "evidence.malformed": Rule("Give the evidence as the platform made it, whole.", "the format of its kind"),
    "collateral.malformed": Rule("Fetch the endorsements anew, or give the missing ones.", "the format of their kind"),
}


def appraise_files(
    data: bytes,
    files: Mapping[str, bytes],
    policy: Policy,
    *,
    kind: str | None,
    at: datetime,
    expected: Binding | bytes | None,
    anchors: Anchors = VENDOR_ANCHORS,
) -> Verdict:
    """Parse, load endorsements, verify and appraise. What cannot be read is a refusal like any other.

    Raises `UnknownKind`, `PolicyError` and `InvalidArgument`, which are the caller's mistakes.
    """
    claims = Claims(kind=kind or "", hardware=False, status="Unverified", evidence_sha256="", report_data="")
    sheet = Sheet(RULES)
    try:
        evidence = parse(data, kind)
        claims = replace(claims, kind=evidence.kind, evidence_sha256=evidence.sha256)
        verified = verify(evidence, load_endorsements(evidence.kind, files, evidence), anchors, at)
    except MalformedEvidence as exc:
        sheet.check("evidence.malformed", False, "well-formed evidence", exc)
    except MalformedCollateral as exc:
        sheet.check("collateral.malformed", False, "well-formed endorsements", exc)
    else:
        return appraise(verified, policy, expected=expected)
    return Verdict(kind=claims.kind, status=claims.status, claims=claims, checks=sheet.done())


def policy_for(
    kind: str,
    data: Mapping[str, Any] | None = None,
    *,
    any_workload: bool = False,
    revocation: Literal["require", "prefer", "off"] | None = None,
) -> Policy:
    """The policy of a file's values, with a command line's options laid over the section of `kind`.

    Without a file, the section holds the options alone. Raises `PolicyError`, also if no workload is constrained.
    """
    tables = dict(data or {})
    section = dict(tables.get(kind.replace("-", "_"), {}))
    if any_workload:
        section["any_workload"] = True
    if revocation is not None:
        section["revocation"] = revocation
    return load_policy({**tables, kind.replace("-", "_"): section})


def load_endorsements(kind: str, files: Mapping[str, bytes], evidence: Evidence | None = None) -> Collateral:
    """Collateral for evidence of `kind`. Raises `MalformedCollateral` naming what is missing or unreadable.

    With `evidence`, where both keys of AMD's are there, the one is taken that the report names.
    """
    if len(files) > MAX_FILES:
        raise MalformedCollateral(f"more than {MAX_FILES} files of endorsements")
    loader = _LOADERS.get(kind)
    return Collateral() if loader is None else loader(files, evidence)


def _snp(files: Mapping[str, bytes], evidence: Evidence | None) -> Collateral:
    report = getattr(evidence, "report", evidence)
    named = SIGNING_KEYS.get(report.signing_key, "") if isinstance(report, SnpEvidence) else ""
    keys = [name for name in ("vcek.der", "vlek.der") if name in files]
    keys = [name for name in keys if name == f"{named.lower()}.der"] or keys
    if len(keys) != 1:
        raise MalformedCollateral("expected vcek.der or vlek.der among the endorsements")
    crls = [data for name, data in sorted(files.items()) if name.startswith("crl") and name.endswith(".der")]
    return snp.read_collateral(files[keys[0]], chain=files.get("ca_chain.pem"), crls=crls)


def _intel(files: Mapping[str, bytes], _evidence: Evidence | None) -> Collateral:
    if "collateral.json" not in files:
        raise MalformedCollateral("expected collateral.json among the endorsements")
    return intel_collateral.read_collateral(files["collateral.json"])


def _cca(files: Mapping[str, bytes], _evidence: Evidence | None) -> Collateral:
    if "platform.pub.pem" not in files:
        raise MalformedCollateral("expected platform.pub.pem among the endorsements")
    return cca.read_collateral(files["platform.pub.pem"])


_LOADERS: Final[dict[str, Callable[[Mapping[str, bytes], Evidence | None], Collateral]]] = {
    "snp": _snp,
    "az-snp": _snp,
    "sgx": _intel,
    "tdx": _intel,
    "cca": _cca,
}
