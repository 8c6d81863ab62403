"""From file contents to a verdict: what a command line or a service needs, without reading any file itself.

An endorsements directory, as a mapping of file name to bytes, holds what endorses one piece of evidence:

    vcek.der or vlek.der     AMD: the endorsement key's certificate
    thim.json                AMD on Azure: certificate and issuers as the platform's service answers
    ca_chain.pem             AMD: intermediate and root; optional, as they are pinned
    crl*.der                 AMD: revocation lists; optional if the policy says so
    collateral.json          Intel: TCB info, enclave identity, chains and revocation lists
    platform.pub.pem         Arm CCA: the platform's public key

Names may also end in `.pem`, `.crt`, `.cer` or `.crl`, and whatever the ending, content is DER or PEM. With the key's
certificate in PEM its issuers may stand in the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from . import cca, extended_report, intel_collateral, snp
from .anchors import VENDOR_ANCHORS, Anchors
from .checks import Rule, Sheet
from .errors import MalformedCollateral, MalformedEvidence
from .model import Binding, Claims, Collateral, Evidence, Verdict
from .policy import Policy, load_policy
from .reading import read_json
from .snp_report import SIGNING_KEYS, SnpEvidence
from .verdict import appraise, parse, verify
from .x509 import Certificate, is_pem, read_certificate, read_crl, read_pem

_ENDINGS: Final = ("der", "pem", "crt", "cer")
_KEYS: Final = {role: tuple(f"{role}.{ending}" for ending in _ENDINGS) for role in ("vcek", "vlek")}
_CHAINS: Final = ("ca_chain.pem", "cert_chain.pem")
_LISTS: Final = ("crl*.der", "crl*.pem", "crl*.crl")
_THIM: Final = "thim.json"
NAMES: Final = (*_KEYS["vcek"], *_KEYS["vlek"], _THIM, *_CHAINS, *_LISTS, "collateral.json", "platform.pub.pem")
"""Patterns of the names that are looked at."""
MAX_FILES: Final = 64
"""Most files that are looked at."""
MAX_THIM: Final = 1 << 17

Endorse = Callable[[Evidence, Mapping[str, bytes]], Collateral]
"""Finds collateral for evidence; the mapping holds endorsements that came along with it, by name."""

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
    return appraise_with(
        data,
        endorse_with(files),
        policy,
        kind=kind,
        at=at,
        expected=expected,
        anchors=anchors,
    )


def appraise_with(
    data: bytes,
    endorse: Endorse,
    policy: Policy,
    *,
    kind: str | None,
    at: datetime,
    expected: Binding | bytes | None,
    anchors: Anchors = VENDOR_ANCHORS,
) -> Verdict:
    """The same with collateral from elsewhere: `endorse` finds it, or raises `MalformedCollateral`, a refusal too."""
    claims = Claims(kind=kind or "", hardware=False, status="Unverified", evidence_sha256="", report_data="")
    sheet = Sheet(RULES)
    try:
        data, shown = extended_report.split(data) if kind == "snp" else (data, {})
        evidence = parse(data, kind)
        claims = replace(claims, kind=evidence.kind, evidence_sha256=evidence.sha256)
        verified = verify(evidence, endorse(evidence, shown), anchors, at)
    except MalformedEvidence as exc:
        sheet.check("evidence.malformed", False, "well-formed evidence", exc)
    except MalformedCollateral as exc:
        sheet.check("collateral.malformed", False, "well-formed endorsements", exc)
    else:
        return appraise(verified, policy, expected=expected)
    return Verdict(kind=claims.kind, status=claims.status, claims=claims, checks=sheet.done())


class _Thim(msgspec.Struct, frozen=True):
    """What a service inside of Azure answers (THIM: /metadata/THIM/amd/certification)."""

    vcekCert: str  # noqa: N815 — Azure's name
    certificateChain: str = ""  # noqa: N815 — Azure's name


def plain(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, with what Azure puts together in one taken apart. Raises `MalformedCollateral`."""
    apart = dict(files)
    if (answer := apart.pop(_THIM, None)) is not None:
        if len(answer) > MAX_THIM:
            raise MalformedCollateral(f"{_THIM} has at most {MAX_THIM} bytes, not {len(answer)}")
        found = read_json(answer, _Thim, lambda why: MalformedCollateral(f"{_THIM}: not an answer of Azure's: {why}"))
        parts = {"vcek.pem": found.vcekCert, "ca_chain.pem": found.certificateChain}
        apart = {name: text.encode() for name, text in parts.items() if text} | apart
    return apart


def endorse_with(files: Mapping[str, bytes]) -> Endorse:
    """Endorsements out of these files, and what they lack of those that came along with the evidence."""
    return lambda evidence, shown: load_endorsements(evidence.kind, _with_shown(files, shown), evidence)


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
    return Collateral() if loader is None else loader(plain(files), evidence)


def _snp(files: Mapping[str, bytes], evidence: Evidence | None) -> Collateral:
    report = getattr(evidence, "report", evidence)
    named = SIGNING_KEYS.get(report.signing_key, "") if isinstance(report, SnpEvidence) else ""
    keys = {role: next((files[name] for name in names if name in files), None) for role, names in _KEYS.items()}
    there = [role for role, data in keys.items() if data is not None]
    there = [role for role in there if role == named.lower()] or there
    if len(there) != 1:
        raise MalformedCollateral("expected vcek.der or vlek.der among the endorsements")
    vek, *issuers = _certificates(keys[there[0]] or b"")
    chain = [data for name in _CHAINS if (data := files.get(name)) is not None]
    crls = [read_crl(data) for name, data in sorted(files.items()) if _is_list(name)]
    found = tuple(read_pem(chain[0])) if chain else tuple(issuers)
    return snp.SnpCollateral(vek=vek, chain=found, crls=tuple(crls))


def _with_shown(files: Mapping[str, bytes], shown: Mapping[str, bytes]) -> dict[str, bytes]:
    """The caller's endorsements, and what they lack of those that came with the evidence."""
    keys = {_THIM, *(name for names in _KEYS.values() for name in names)}
    lacking = keys.isdisjoint(files)
    return {name: data for name, data in shown.items() if lacking or name not in keys} | dict(files)


def _is_list(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _LISTS)


def _certificates(data: bytes) -> list[Certificate]:
    return read_pem(data) if is_pem(data) else [read_certificate(data)]


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
