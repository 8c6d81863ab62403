"""Verification of AMD SEV-SNP reports against the endorsement key's certificate and AMD's pinned roots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from . import revocation
from .amd_products import LINES, ProductLine, Tcb, at_least, line_of_cpu, line_of_product, reserved_zero, show
from .amd_products import tcb_components as components
from .amd_vek import Vek, read_vek
from .anchors import AmdAnchor, Anchors, Authority
from .checks import Rule, Sheet
from .der import DerError
from .errors import InvalidArgument
from .model import Claims, Collateral, Evidence
from .snp_report import (
    GUEST_POLICY_BITS,
    PLATFORM_INFO_BITS,
    SIGNED,
    SIGNING_KEYS,
    SnpEvidence,
    flags_of,
)
from .x509 import Certificate, RevocationList, read_certificate, read_crl, read_pem, signature_valid, signed_by

_ABI = "AMD 56860 (SEV-SNP ABI), "
_KDS = "AMD 57230 (VCEK and KDS), "
_PSS: Final = "rsa-pss-sha384"
_P384_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973

RULES: Final = {
    "snp.report.reserved": Rule(
        "Reserved bytes are set: the report was altered, or comes of firmware newer than this library.",
        _ABI + "table 23",
    ),
    "snp.report.algorithm": Rule("The report is not signed with ECDSA P-384 and SHA-384.", _ABI + "table 139"),
    "snp.report.signing-key": Rule(
        "Give the certificate of the key that signed the report: vcek.der or vlek.der.", _ABI + "table 23, SIGNING_KEY"
    ),
    "snp.root.unpinned": Rule(
        "The chain does not end in a root of AMD's that is known here: right names on wrong keys are a forgery.",
        _KDS + "section 2",
    ),
    "snp.vek.certificate": Rule(
        "The certificate is not an endorsement key's as AMD issues them; fetch it from AMD's key server.",
        _KDS + "section 3.1",
    ),
    "snp.vek.signature": Rule("The endorsement key's certificate was not issued by AMD.", _KDS + "section 2"),
    "snp.certificate.validity": Rule(
        "Verify at a time within the validity of the certificates, or fetch the endorsement key anew.",
        "RFC 5280, section 4.1.2.5",
    ),
    "snp.certificate.revoked": Rule(
        "AMD has revoked an intermediate of this chain: fetch the certificates anew.", "RFC 5280, section 6.3"
    ),
    "snp.product": Rule(
        "Report, endorsement key and root are of different product lines: collateral of another machine was given.",
        _KDS + "section 3.1",
    ),
    "snp.tcb.reserved": Rule(
        "Reserved bytes of a TCB version are set: the report was altered, or comes of firmware that is not known here.",
        _ABI + "section 2.2",
    ),
    "snp.tcb.reported": Rule(
        "Fetch the endorsement key for the report's REPORTED_TCB; each firmware level has its own.",
        _KDS + "section 3.1",
    ),
    "snp.tcb.order": Rule(
        "Firmware that reports more than it runs is not genuine: do not use this machine.", _ABI + "section 2.2"
    ),
    "snp.chip-id": Rule(
        "The report is of another chip than the endorsement key: fetch the key for the report's CHIP_ID.",
        _KDS + "section 3.1",
    ),
    "snp.report.signature": Rule("The report was altered, or was signed by another key.", _ABI + "section 7.3"),
}

REQUIRED: Final = frozenset(RULES)
"""Every check is made in every complete verification."""


class SnpCollateral(Collateral, frozen=True, kw_only=True):
    """The endorsement key's certificate, AMD's chain if it was sent along, and revocation lists.

    The chain is optional, for the roots are pinned; if it is there, each certificate in it must be a pinned one, or the
    endorsement key's own.
    """

    vek: Certificate
    chain: tuple[Certificate, ...] = ()
    crls: tuple[RevocationList, ...] = ()


class SnpClaims(Claims, frozen=True, kw_only=True):
    """What a report says. TCB values are by component."""

    version: int
    product: str
    signing_key: str
    chip_id: str
    csp_id: str | None
    guest_svn: int
    policy: Mapping[str, bool]
    policy_abi: str
    family_id: str
    image_id: str
    vmpl: int
    platform_info: Mapping[str, bool]
    platform_info_raw: int
    author_key_enabled: bool
    measurement: str
    host_data: str
    id_key_digest: str
    author_key_digest: str
    report_id: str
    report_id_ma: str
    reported_tcb: Tcb
    current_tcb: Tcb
    committed_tcb: Tcb
    launch_tcb: Tcb
    current_firmware: str
    committed_firmware: str
    launch_mitigations: int | None
    current_mitigations: int | None
    revocation: revocation.State


class _Signers(NamedTuple):
    """Who stands behind an endorsement key, as far as they are pinned, and the revocation lists that are theirs."""

    anchor: AmdAnchor | None
    issuer: Authority | None
    lists: tuple[RevocationList, ...]
    damaged: bool
    """Whether a list was sent along that is none of AMD's."""

    def ends(self, at: datetime) -> list[datetime]:
        """When each of them ceases to hold; a list that is stale already supports nothing."""
        authorities = (self.issuer, self.anchor.ark if self.anchor else None)
        ends = [found.certificate.not_after for found in authorities if found is not None]
        return ends + [found.next_update for found in self.lists if found.current_at(at)]


def read_collateral(vek: bytes, *, chain: bytes | None = None, crls: Iterable[bytes] = ()) -> SnpCollateral:
    """Collateral of a DER certificate, a PEM chain and DER revocation lists. Raises `MalformedCollateral`."""
    return SnpCollateral(
        vek=read_certificate(vek),
        chain=() if chain is None else tuple(read_pem(chain)),
        crls=tuple(read_crl(crl) for crl in crls),
    )


def verify(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> SnpClaims:
    """Verify a report.

    1. The report is well-formed: reserved fields, signature algorithm, a signing key.
    2. The endorsement key's certificate has AMD's form and role, and the report names that role.
    3. It was issued by a pinned intermediate of a pinned root, all valid at `at`, none revoked.
    4. Report, certificate and root are of one product line.
    5. The certificate is for the report's TCB and chip.
    6. The report carries that key's signature.

    Left to `appraise`: everything that depends on what is wanted of the guest and the platform.
    Raises `InvalidArgument` for evidence or collateral of another kind.
    """
    if not isinstance(evidence, SnpEvidence) or not isinstance(collateral, SnpCollateral):
        raise InvalidArgument("snp.verify needs SnpEvidence and SnpCollateral")
    sheet = Sheet(RULES)
    _check_format(evidence, sheet)
    vek = _check_certificate(evidence, collateral.vek, sheet)
    signers = _signers(collateral, anchors)
    revoked = _check_chain(collateral, signers, vek, at, sheet)
    line = _check_product(evidence, signers.anchor, vek, sheet)
    if vek is not None and line is not None:
        _check_platform(evidence, vek, line, sheet)
        _check_signature(evidence, vek, sheet)
    valid_until = min([collateral.vek.not_after, *signers.ends(at)])
    return _claims(evidence, valid_until, line, vek, revoked, sheet)


def _signers(collateral: SnpCollateral, anchors: Anchors) -> _Signers:
    anchor, issuer = issuer_of(collateral.vek, anchors)
    lists = () if anchor is None else revocation.authentic(anchor.ark, collateral.crls, _PSS)
    damaged = any(found not in lists and not _of_amd(found, anchors) for found in collateral.crls)
    return _Signers(anchor, issuer, lists, damaged)


def _check_format(report: SnpEvidence, sheet: Sheet) -> None:
    sheet.check(
        "snp.report.reserved", not report.reserved, "as specified", ", ".join(report.reserved) or "as specified"
    )
    sheet.check("snp.report.algorithm", report.signature_algorithm == 1, 1, report.signature_algorithm)


def _check_certificate(report: SnpEvidence, certificate: Certificate, sheet: Sheet) -> Vek | None:
    named = SIGNING_KEYS.get(report.signing_key, f"none ({report.signing_key})")
    try:
        vek = read_vek(certificate)
    except DerError as exc:
        sheet.check("snp.vek.certificate", False, "a VCEK or VLEK certificate", exc)
        return None
    sheet.check("snp.vek.certificate", True, "a VCEK or VLEK certificate", f"{vek.role} of {vek.product}")
    sheet.check("snp.report.signing-key", named == vek.role, vek.role, named)
    return vek


def issuer_of(certificate: Certificate, anchors: Anchors) -> tuple[AmdAnchor | None, Authority | None]:
    """The pinned authority whose name stands as the issuer; of several with that name, the one that signed."""
    named = [
        (anchor, authority)
        for anchor in anchors.amd
        for authority in (*anchor.vcek_issuers, *anchor.vlek_issuers)
        if authority.certificate.subject == certificate.issuer
    ]
    if len(named) > 1:
        # AMD has replaced an intermediate under its old name before.
        signers = [found for found in named if signed_by(certificate, found[1].key, _PSS)]
        named = signers or named
    return named[0] if named else (None, None)


def _of_amd(found: RevocationList, anchors: Anchors) -> bool:
    """Whether a list is authentic, of whichever product line."""
    return any(revocation.authentic(anchor.ark, (found,), _PSS) for anchor in anchors.amd)


def _check_chain(
    collateral: SnpCollateral, signers: _Signers, vek: Vek | None, at: datetime, sheet: Sheet
) -> revocation.State:
    anchor, issuer, lists, damaged = signers
    if anchor is None or issuer is None:
        sheet.check("snp.root.unpinned", False, "a pinned root of AMD's", "an issuer of another name")
        return "absent"
    role = "VCEK" if issuer in anchor.vcek_issuers else "VLEK"
    strangers = [found for found in collateral.chain if found.raw != collateral.vek.raw and not anchor.pins(found)]
    sheet.check(
        "snp.root.unpinned",
        not strangers and vek is not None and vek.role == role,
        f"only certificates pinned for {anchor.line}",
        f"{len(strangers)} certificates that are not pinned" if strangers else f"pinned, issuer of a {role}",
    )
    signed = signed_by(collateral.vek, issuer.key, _PSS)
    sheet.check(
        "snp.vek.signature", signed, "RSASSA-PSS SHA-384 of the pinned issuer", "valid" if signed else "invalid"
    )
    chain = (collateral.vek, issuer.certificate, anchor.ark.certificate)
    first, last = max(found.not_before for found in chain), min(found.not_after for found in chain)
    sheet.check("snp.certificate.validity", first <= at <= last, f"{first} to {last}", at)
    # The root's lists speak of the intermediates; a chain that was sent along may hold an older one.
    intermediates = [
        issuer.certificate,
        *(found for found in strangers if found.issuer == anchor.ark.certificate.subject),
    ]
    state = revocation.state(intermediates, lists, at, damaged=damaged)
    sheet.check("snp.certificate.revoked", state != "revoked", "not revoked", state)
    return state


def _check_product(report: SnpEvidence, anchor: AmdAnchor | None, vek: Vek | None, sheet: Sheet) -> ProductLine | None:
    if anchor is None or vek is None:
        return None
    certified = line_of_product(vek.product)
    # Version 2 does not name the processor: its line is the certificate's.
    running = certified if report.cpuid is None else line_of_cpu(report.cpuid[0], report.cpuid[1])
    one = anchor.line == certified == running
    sheet.check("snp.product", one, anchor.line, f"certificate {vek.product}, processor {running or report.cpuid}")
    return LINES.get(anchor.line)


def _check_platform(report: SnpEvidence, vek: Vek, line: ProductLine, sheet: Sheet) -> None:
    reported, current = components(line, report.reported_tcb), components(line, report.current_tcb)
    committed = components(line, report.committed_tcb)
    of_another_form = [name for name, raw in _tcb_versions(report).items() if not reserved_zero(line, raw)]
    sheet.check("snp.tcb.reserved", not of_another_form, "zero", ", ".join(of_another_form) or "zero")
    certified = {name: vek.tcb[name] for name in reported if name in vek.tcb}
    others = {name: value for name, value in vek.tcb.items() if name not in reported and value}
    sheet.check(
        "snp.tcb.reported",
        certified == reported and not others,
        show({**certified, **others}),
        show(reported),
    )
    sheet.check(
        "snp.tcb.order",
        at_least(current, reported) and at_least(current, committed),
        "neither REPORTED nor COMMITTED above CURRENT",
        f"{show(reported)} / {show(committed)} / {show(current)}",
    )
    if vek.hwid is None:
        sheet.check("snp.chip-id", True, "a VLEK names no chip", f"lent to {vek.csp_id}")
    elif not any(report.chip_id):
        sheet.check("snp.chip-id", True, vek.hwid.hex(), "masked by the host; the key is the chip's all the same")
    else:
        same = len(vek.hwid) == line.chip_id_size and report.chip_id == vek.hwid.ljust(64, b"\0")
        sheet.check("snp.chip-id", same, vek.hwid.hex(), report.chip_id.hex())


def _tcb_versions(report: SnpEvidence) -> dict[str, bytes]:
    return {
        "CURRENT_TCB": report.current_tcb,
        "REPORTED_TCB": report.reported_tcb,
        "COMMITTED_TCB": report.committed_tcb,
        "LAUNCH_TCB": report.launch_tcb,
    }


def _check_signature(report: SnpEvidence, vek: Vek, sheet: Sheet) -> None:
    in_range = 0 < report.r < _P384_ORDER and 0 < report.s < _P384_ORDER
    valid = in_range and signature_valid(
        vek.key, "ecdsa-sha384", encode_dss_signature(report.r, report.s), report.raw[:SIGNED]
    )
    sheet.check(
        "snp.report.signature",
        valid,
        "ECDSA P-384 SHA-384 over the first 672 bytes",
        "valid" if valid else "invalid" if in_range else "r or s is out of range",
    )


def _claims(
    report: SnpEvidence,
    valid_until: datetime,
    line: ProductLine | None,
    vek: Vek | None,
    revoked: revocation.State,
    sheet: Sheet,
) -> SnpClaims:
    checks = sheet.done()
    sound = all(check.ok for check in checks) and {check.id for check in checks} >= REQUIRED
    common: dict[str, Any] = {
        "kind": "snp",
        "hardware": sound,
        "status": "Verified" if sound else "Unverified",
        "evidence_sha256": report.sha256,
        "report_data": report.report_data.hex(),
        "launch_package": "sha256:" + report.host_data.hex(),
        "checks": checks,
        "version": report.version,
        "signing_key": SIGNING_KEYS.get(report.signing_key, "none"),
        "revocation": revoked,
        "valid_until": valid_until,
    }
    return SnpClaims(**common, **_guest(report), **_platform(report, line, vek))


def _guest(report: SnpEvidence) -> dict[str, Any]:
    return {
        "guest_svn": report.guest_svn,
        "policy": flags_of(report.policy, GUEST_POLICY_BITS),
        "policy_abi": f"{report.policy >> 8 & 0xFF}.{report.policy & 0xFF}",
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "vmpl": report.vmpl,
        "author_key_enabled": report.author_key_enabled,
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
    }


def _platform(report: SnpEvidence, line: ProductLine | None, vek: Vek | None) -> dict[str, Any]:
    def tcb(raw: bytes) -> Tcb:
        return {} if line is None else components(line, raw)

    return {
        "product": "unknown" if line is None else line.name,
        "chip_id": report.chip_id.hex() if any(report.chip_id) or vek is None else (vek.hwid or b"").hex(),
        "csp_id": None if vek is None else vek.csp_id,
        "platform_info": flags_of(report.platform_info, PLATFORM_INFO_BITS),
        "platform_info_raw": report.platform_info,
        "reported_tcb": tcb(report.reported_tcb),
        "current_tcb": tcb(report.current_tcb),
        "committed_tcb": tcb(report.committed_tcb),
        "launch_tcb": tcb(report.launch_tcb),
        "current_firmware": _dotted(report.current_firmware),
        "committed_firmware": _dotted(report.committed_firmware),
        "launch_mitigations": report.launch_mitigations,
        "current_mitigations": report.current_mitigations,
    }


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
