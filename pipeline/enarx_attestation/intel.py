"""Verification of SGX and TDX quotes: Intel's appraisal, from the pinned root to a TCB status.

Intel SGX and TDX DCAP Quote Verification; PCS API v4. A status is a claim: the policy says which are good enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from . import intel_tcb, revocation
from .anchors import Anchors, Authority
from .checks import Check, Rule, Sheet
from .der import DerError
from .errors import InvalidArgument, MalformedCollateral
from .intel_claims import IntelClaims, SgxClaims, TdxClaims, domain, enclave
from .intel_collateral import (
    PCK,
    Endorsements,
    IntelCollateral,
    Span,
    common_span,
    endorse,
    ends_in_pinned,
    is_intel,
    pck_authority,
    raw_signature,
)
from .intel_pck import SGX_TYPES, Platform, read_platform
from .intel_quote import PCK_CHAIN, Quote, SgxReport, TdReport
from .intel_tcb import Module, Placed, TcbInfo
from .model import Collateral, Evidence
from .x509 import Certificate, PublicKey, public_key, read_pem, signature_valid, signed_by

INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
QE_IDENTITY: Final = {"sgx": "QE", "tdx": "TD_QE"}
_FIX = "Fetch current collateral for the platform's FMSPC from Intel."
_PCS = "Intel PCS API v4, "
_QUOTE = "Intel SGX ECDSA Quote Library Reference, "

_COMMON = {
    "header.vendor": Rule("The quote is not by Intel's quoting enclave.", _QUOTE + "A.4, QE Vendor ID"),
    "root.unpinned": Rule(
        "A chain has no root, or one that is not Intel's own: right names on wrong keys are a forgery.",
        "Intel SGX PCK Certificate Profile, section 1.1",
    ),
    "pck.certificate": Rule(
        "PCK certificate required: give it with the collateral if the quote carries none.", _QUOTE + "A.4, table 9"
    ),
    "pck.signature": Rule("The platform's certificate was not issued by Intel.", "Intel SGX PCK Certificate Profile"),
    "certificate.validity": Rule(
        "Verify at a time within the validity of the certificates, or fetch them anew.", "RFC 5280, section 4.1.2.5"
    ),
    "certificate.revoked": Rule(
        "Intel has revoked a certificate of this chain: do not use this platform.", "RFC 5280, section 6.3"
    ),
    "tcb-info.signature": Rule("The TCB info was altered, or is not Intel's. " + _FIX, _PCS + "Get TCB Info"),
    "tcb-info.window": Rule(_FIX, _PCS + "Get TCB Info, nextUpdate"),
    "tcb-info.match": Rule(
        "The TCB info is of another platform family or TEE. " + _FIX, _PCS + "Get TCB Info, fmspc and pceId"
    ),
    "qe-identity.signature": Rule(
        "The enclave identity was altered, or is not Intel's. " + _FIX, _PCS + "Get QE Identity"
    ),
    "qe-identity.window": Rule(_FIX, _PCS + "Get QE Identity, nextUpdate"),
    "qe.signature": Rule("The platform's key did not sign this quoting enclave's report.", _QUOTE + "A.4, QE Report"),
    "qe.binding": Rule(
        "The attestation key is not the one that the quoting enclave reported.", _QUOTE + "A.4, QE Report, REPORTDATA"
    ),
    "qe.identity": Rule(
        "The quoting enclave is not Intel's, is in debug mode, or is of the other TEE.", _PCS + "Get QE Identity"
    ),
    "qe.level": Rule("Update the quoting enclave on the host.", _PCS + "Determine QE TCB status"),
    "tcb.level.none": Rule(
        "The platform is below every level that Intel lists; update its firmware.", _PCS + "Determine TCB status"
    ),
    "quote.signature": Rule("The quote was altered.", _QUOTE + "A.4, ISV Enclave Report Signature"),
}
_TDX_ONLY = {
    "module.identity": Rule(
        "The TDX module is not one that Intel lists, or another has signed it.",
        _PCS + "Get TCB Info, tdxModuleIdentities",
    ),
    "module.level": Rule("Update the TDX module on the host.", _PCS + "Determine TDX module TCB status"),
}

RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "sgx": {f"sgx.{name}": rule for name, rule in _COMMON.items()},
    "tdx": {f"tdx.{name}": rule for name, rule in {**_COMMON, **_TDX_ONLY}.items()},
}
REQUIRED: Final = {kind: frozenset(rules) for kind, rules in RULES.items()}


class _Chain(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's certificate and its issuer, as far as they could be established."""

    pck: Certificate | None = None
    platform: Platform | None = None
    key: PublicKey | None = None
    authority: Authority | None = None
    validity: Span | None = None
    """Of every certificate that matters; None if one is missing."""


class _Tcb(msgspec.Struct, frozen=True):
    """The outcome of the evaluation."""

    status: str
    platform: Placed | None
    module: Placed | None
    qe: Placed | None


class _Found(NamedTuple):
    """What the steps of `verify` established."""

    chain: _Chain
    tcb: _Tcb
    revoked: revocation.State


def verify_sgx(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> IntelClaims:
    """Verify a quote of an enclave; see `verify`."""
    return verify("sgx", evidence, collateral, anchors, at)


def verify_tdx(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> IntelClaims:
    """Verify a quote of a domain; see `verify`."""
    return verify("tdx", evidence, collateral, anchors, at)


def verify(kind: str, quote: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> IntelClaims:
    """Verify a quote against `IntelCollateral`, or `Endorsements` made of it once for many quotes.

    1. The collateral: chains to the pinned root, signatures over the exact bytes, windows around `at`.
    2. The platform's certificate (PCK): in any order, issued by a PCK CA under the pinned root, valid, not revoked.
    3. The quoting enclave: its report is signed by the PCK, names the attestation key, and is Intel's at a known level.
    4. The quote is signed by the attestation key.
    5. The TCB info is of this TEE, family and PCE; the platform reaches one of its levels.
    6. TDX: the module is one that Intel lists, at a known level; a newer module than at launch advises a relaunch.

    Left to `appraise`: which status, advisories, attributes and measurements are accepted.
    Raises `InvalidArgument` for evidence or collateral of another kind, and for endorsements under other anchors.
    """
    endorsed = _endorsed(collateral, anchors)
    if not isinstance(quote, Quote) or quote.kind != kind:
        raise InvalidArgument(f"{kind}.verify needs the evidence that {kind}'s parse returns")
    sheet = Sheet(RULES[kind])
    sheet.check(
        f"{kind}.header.vendor", quote.qe_vendor_id == INTEL_QE_VENDOR, INTEL_QE_VENDOR.hex(), quote.qe_vendor_id.hex()
    )
    chain = _check_chain(kind, quote, endorsed, sheet)
    _check_collateral(kind, endorsed, at, sheet)
    last = _check_validity(kind, chain, at, sheet)
    revoked = _check_revocation(kind, chain, endorsed, at, sheet)
    _check_quote(kind, quote, chain, sheet)
    found = _Found(chain, _evaluate(kind, quote, chain, endorsed.collateral, sheet), revoked)
    return _claims(quote, endorsed.collateral, found, at, min(last, *_ends(endorsed, at)), sheet)


def _endorsed(collateral: Collateral, anchors: Anchors) -> Endorsements:
    if isinstance(collateral, IntelCollateral):
        return endorse(collateral, anchors)
    if not isinstance(collateral, Endorsements):
        raise InvalidArgument("a quote is verified against IntelCollateral or Endorsements")
    if collateral.anchors is not anchors and collateral.anchors != anchors:
        raise InvalidArgument("the endorsements were made under other anchors")
    return collateral


def _check_chain(kind: str, quote: Quote, endorsed: Endorsements, sheet: Sheet) -> _Chain:
    """Establish the platform's chain, or take what was established of the very same bytes."""
    key = (kind, quote.certification_type, quote.certification_data)
    kept: tuple[_Chain, tuple[Check, ...]] | None = endorsed.chains.get(key)
    if kept is None:
        own = Sheet(RULES[kind])
        kept = _establish_chain(kind, quote, endorsed, own), own.done()
        if all(check.ok for check in kept[1]):
            endorsed.chains.keep(key, kept)
    sheet.take(kept[1])
    return kept[0]


def _establish_chain(kind: str, quote: Quote, endorsed: Endorsements, sheet: Sheet) -> _Chain:
    certificates = _certificates(quote, endorsed)
    anchors = endorsed.anchors
    if isinstance(certificates, str):
        sheet.check(f"{kind}.pck.certificate", False, "a chain of certificates", certificates)
        return _Chain()
    pinned = endorsed.pinned and ends_in_pinned(certificates, anchors)
    known = endorsed.pck_authority
    if known is None or known.certificate.raw not in {found.raw for found in certificates}:
        root, known = pck_authority(certificates, anchors)
        pinned = pinned and root is not None
    sheet.check(f"{kind}.root.unpinned", pinned, "Intel's root alone", "so it is" if pinned else "no root, or another")
    leaves = [found for found in certificates if is_intel(found, frozenset({PCK}))]
    platform: Platform | None = None
    fault = "" if len(leaves) == 1 else f"{len(leaves)} PCK certificates"
    if not fault and (leaves[0].is_authority or leaves[0].unknown_critical or not leaves[0].may_sign(0)):
        fault = "a certificate of another use"
    if not fault:
        try:
            platform = read_platform(leaves[0])
        except DerError as exc:
            fault = str(exc)
    sheet.check(f"{kind}.pck.certificate", not fault, "one PCK certificate with Intel's extension", fault or "so it is")
    if fault:
        return _Chain(authority=known)
    pck, key = leaves[0], public_key(leaves[0])
    issued = known is not None and pck.issuer == known.certificate.subject and signed_by(pck, known.key, "ecdsa-sha256")
    sheet.check(f"{kind}.pck.signature", issued, "ECDSA P-256 SHA-256 of a PCK CA", "valid" if issued else "invalid")
    p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    validity = _validity(pck, known, endorsed)
    return _Chain(pck=pck, platform=platform, key=key if p256 else None, authority=known, validity=validity)


def _validity(pck: Certificate, authority: Authority | None, endorsed: Endorsements) -> Span | None:
    """When every certificate that matters is valid."""
    if authority is None or endorsed.root is None or len(endorsed.signers) < 2:
        return None
    return common_span([pck, authority.certificate, endorsed.root.certificate, *endorsed.signers])


def _certificates(quote: Quote, endorsed: Endorsements) -> tuple[Certificate, ...] | str:
    """The chain in the quote, or the one given with the collateral, or why there is none."""
    if quote.certification_type == PCK_CHAIN:
        known = [root.certificate for root in endorsed.anchors.intel]
        if endorsed.pck_authority is not None:
            known.append(endorsed.pck_authority.certificate)
        try:
            return tuple(read_pem(quote.certification_data, known))
        except MalformedCollateral as exc:
            return str(exc)
    if endorsed.collateral.pck_chain:
        return endorsed.collateral.pck_chain
    return f"certification data of type {quote.certification_type}, which holds none: PCK certificate required"


def _check_collateral(kind: str, endorsed: Endorsements, at: datetime, sheet: Sheet) -> None:
    moment = str(at)
    for name, valid, span in (
        ("tcb-info", endorsed.tcb_info_signed, endorsed.tcb_info_span),
        ("qe-identity", endorsed.qe_identity_signed, endorsed.qe_identity_span),
    ):
        shown = "valid" if valid else "invalid"
        sheet.check(f"{kind}.{name}.signature", valid, "Intel's TCB signing key over the exact bytes", shown)
        sheet.check(f"{kind}.{name}.window", span.holds(at), span.shown, moment)


def _check_validity(kind: str, chain: _Chain, at: datetime, sheet: Sheet) -> datetime:
    """Check the validity of every certificate that matters, and return when the first of them ends."""
    validity = chain.validity
    valid = validity is not None and validity.holds(at)
    sheet.check(f"{kind}.certificate.validity", valid, validity.shown if validity else "a whole chain", at)
    return validity.last if validity else at


def _check_revocation(kind: str, chain: _Chain, endorsed: Endorsements, at: datetime, sheet: Sheet) -> revocation.State:
    authority = chain.authority
    same = authority is not None and endorsed.pck_authority is not None and authority.key == endorsed.pck_authority.key
    by_root = list(endorsed.signers) + ([authority.certificate] if authority is not None else [])
    given = endorsed.collateral
    state = revocation.worst(
        (
            revocation.state(
                by_root, endorsed.root_lists, at, damaged=given.root_crl is not None and not endorsed.root_lists
            ),
            # The list of the other PCK CA (processor, platform) says nothing about this certificate.
            revocation.state(
                [chain.pck] if chain.pck else [],
                endorsed.pck_lists if same else (),
                at,
                damaged=same and given.pck_crl is not None and not endorsed.pck_lists,
            ),
        )
    )
    sheet.check(f"{kind}.certificate.revoked", state != "revoked", "not revoked", state)
    return state


def _check_quote(kind: str, quote: Quote, chain: _Chain, sheet: Sheet) -> None:
    signed = signature_valid(chain.key, "ecdsa-sha256", raw_signature(quote.qe_report_signature), quote.qe_report_raw)
    sheet.check(f"{kind}.qe.signature", signed, "the PCK's signature", "valid" if signed else "invalid")
    wanted = hashlib.sha256(quote.attestation_key + quote.qe_authentication_data).digest().ljust(64, b"\0")
    bound = quote.qe_report.report_data == wanted
    sheet.check(f"{kind}.qe.binding", bound, wanted.hex(), quote.qe_report.report_data.hex())
    valid = signature_valid(
        _attestation_key(quote.attestation_key), "ecdsa-sha256", raw_signature(quote.signature), quote.signed
    )
    shown = "valid" if valid else "invalid"
    sheet.check(f"{kind}.quote.signature", valid, "the attestation key's signature over header and body", shown)


def _attestation_key(raw: bytes) -> ec.EllipticCurvePublicKey | None:
    """The key of 64 bytes, x and y; None if it is no point of P-256."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError:
        return None


def _evaluate(kind: str, quote: Quote, chain: _Chain, collateral: IntelCollateral, sheet: Sheet) -> _Tcb:
    info, identity = collateral.tcb_info, collateral.qe_identity
    report = quote.qe_report
    # Bit 1 of the attributes is DEBUG; Intel's mask covers it, and nothing hangs on that.
    genuine = intel_tcb.is_enclave(identity, report) and not report.attributes[0] & 2
    genuine = genuine and identity.id == QE_IDENTITY[kind]
    shown = f"MRSIGNER {report.mrsigner.hex()}, product {report.isv_prod_id}"
    sheet.check(f"{kind}.qe.identity", genuine, f"{QE_IDENTITY[kind]} of MRSIGNER {identity.mrsigner.lower()}", shown)
    qe = intel_tcb.enclave_level(identity, report)
    sheet.check(f"{kind}.qe.level", qe is not None, "a level that Intel lists", _shown(qe, f"ISVSVN {report.isv_svn}"))
    platform = chain.platform
    if platform is None:
        return _Tcb("Unverified", None, None, qe)
    wanted = (kind.upper(), info.fmspc.lower(), info.pceId.lower())
    actual = (info.id, platform.fmspc.hex(), platform.pce_id.hex())
    sheet.check(f"{kind}.tcb-info.match", wanted == actual, " ".join(wanted), " ".join(actual))
    if isinstance(quote.body, SgxReport):
        placed = intel_tcb.platform_level(info, platform, None)
        sheet.check(f"{kind}.tcb.level.none", placed is not None, "a level that Intel lists", _shown(placed, "none"))
        return _Tcb(_converged(placed, None, qe), placed, None, qe)
    return _evaluate_domain(quote.body, platform, info, qe, sheet)


def _evaluate_domain(report: TdReport, platform: Platform, info: TcbInfo, qe: Placed | None, sheet: Sheet) -> _Tcb:
    launched = _under(report.tee_tcb_svn, platform, info)
    running = launched if report.tee_tcb_svn2 is None else _under(report.tee_tcb_svn2, platform, info)
    placed, module, level = launched
    reached = placed is not None and running[0] is not None
    sheet.check("tdx.tcb.level.none", reached, "a level that Intel lists", _shown(placed if reached else None, "none"))
    known = module is not None and intel_tcb.is_module(module, report) and running[1] is not None
    version = f"version {report.tee_tcb_svn[1]}.{report.tee_tcb_svn[0]}, MRSIGNERSEAM {report.mrsignerseam.hex()}"
    sheet.check("tdx.module.identity", known, "a module that Intel lists and signed", version)
    listed = level is not None and running[2] is not None
    sheet.check("tdx.module.level", listed, "a level that Intel lists", _shown(level if listed else None, version))
    status = _converged(placed, level, qe)
    if reached and known and listed:
        status = intel_tcb.relaunch(status, _converged(running[0], running[2], qe))
    return _Tcb(status if reached else "NotSupported", placed, level, qe)


def _under(svn: bytes, platform: Platform, info: TcbInfo) -> tuple[Placed | None, Module | None, Placed | None]:
    """The platform's level under a module of this version, that module, and the module's own level."""
    module = intel_tcb.module_of(info, svn)
    level = None if module is None else intel_tcb.module_level(module, svn)
    return intel_tcb.platform_level(info, platform, svn), module, level


def _converged(platform: Placed | None, module: Placed | None, qe: Placed | None) -> str:
    if platform is None:
        return "NotSupported"
    return intel_tcb.converge(platform.status, [part.status for part in (module, qe) if part is not None])


def _shown(placed: Placed | None, otherwise: str) -> str:
    return otherwise if placed is None else f"{placed.status}, {placed.date.date()}"


def _ends(endorsed: Endorsements, at: datetime) -> list[datetime]:
    """When each part of the collateral ceases to hold; a list that is stale already supports nothing."""
    lists = [found.next_update for found in (*endorsed.root_lists, *endorsed.pck_lists) if found.current_at(at)]
    return [endorsed.tcb_info_span.last, endorsed.qe_identity_span.last, *lists]


def _claims(
    quote: Quote, collateral: IntelCollateral, found: _Found, at: datetime, valid_until: datetime, sheet: Sheet
) -> IntelClaims:
    checks = sheet.done()
    sound = all(check.ok for check in checks) and REQUIRED[quote.kind] <= {check.id for check in checks}
    info, identity, tcb = collateral.tcb_info, collateral.qe_identity, found.tcb
    common: dict[str, Any] = {
        "kind": quote.kind,
        "hardware": sound,
        "status": tcb.status if sound or tcb.status == "NotSupported" else "Unverified",
        "evidence_sha256": quote.sha256,
        "report_data": quote.body.report_data.hex(),
        "checks": checks,
        "quote_version": quote.version,
        "verified_at": at,
        "evaluation_number": min(info.tcbEvaluationDataNumber, identity.tcbEvaluationDataNumber),
        "collateral_issued": min(info.issueDate, identity.issueDate),
        "valid_until": valid_until,
        "revocation": found.revoked,
        **_platform(found.chain.platform),
        **_levels(tcb),
    }
    if isinstance(quote.body, SgxReport):
        return SgxClaims(**common, **enclave(quote.body))
    module: dict[str, Any] = {
        "module_status": tcb.module.status if tcb.module else "NotSupported",
        "module_date": tcb.module.date if tcb.module else None,
    }
    return TdxClaims(**common, **module, **domain(quote.body))


def _platform(platform: Platform | None) -> dict[str, Any]:
    return {
        "fmspc": platform.fmspc.hex() if platform else "",
        "ppid": platform.ppid.hex() if platform else "",
        "platform_instance_id": platform.instance_id.hex() if platform and platform.instance_id else None,
        "sgx_type": SGX_TYPES.get(platform.sgx_type, str(platform.sgx_type)) if platform else "",
        "dynamic_platform": platform.dynamic if platform else None,
        "cached_keys": platform.cached_keys if platform else None,
        "smt": platform.smt if platform else None,
    }


def _levels(tcb: _Tcb) -> dict[str, Any]:
    placed = [part for part in (tcb.platform, tcb.module, tcb.qe) if part is not None]
    return {
        "platform_status": tcb.platform.status if tcb.platform else "NotSupported",
        "platform_date": tcb.platform.date if tcb.platform else None,
        "qe_status": tcb.qe.status if tcb.qe else "NotSupported",
        "qe_date": tcb.qe.date if tcb.qe else None,
        "advisories": tuple(sorted({advisory for part in placed for advisory in part.advisories})),
    }
