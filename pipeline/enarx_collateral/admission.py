"""What may enter a store: nothing but what a pinned authority signed, whoever brought it.

Each function reads one item, verifies it, and names it from what was signed, never from what it was asked for as.
What depends on the time is not looked at here: an item that has ended is old, not forged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from enarx_attestation import AttestationError, cca, revocation, snp
from enarx_attestation.amd_products import LINES, line_of_product
from enarx_attestation.amd_vek import read_vek
from enarx_attestation.anchors import AmdAnchor, Anchors
from enarx_attestation.der import DerError
from enarx_attestation.intel_collateral import (
    ends_in_pinned,
    pck_authority,
    read_identity_answer,
    read_tcb_info_answer,
    statement_signed,
)
from enarx_attestation.intel_tcb import read_enclave_identity, read_tcb_info
from enarx_attestation.x509 import RevocationList, read_certificate, read_crl, read_pem, signed_by

from .errors import RefusedCollateral
from .item import Entry, Item, tcb_text

_FOREVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST: Final = (1 << 63) - 1
_ONLY: Final = (0, 0)
"""The order of an item of which there is one issue."""
_PSS: Final = "rsa-pss-sha384"
_PCK_CAS: Final = {"Intel SGX PCK Platform CA": "platform", "Intel SGX PCK Processor CA": "processor"}
_ENCLAVES: Final = {"QE": "sgx", "TD_QE": "tdx"}


class Admitted(msgspec.Struct, frozen=True):
    """A verified item with its bytes."""

    entry: Entry
    data: bytes
    chain: bytes | None = None


def admit(kind: str, data: bytes, anchors: Anchors, *, chain: bytes | None = None, role: str = "vcek") -> Admitted:
    """Verify an item of `kind`. Raises `RefusedCollateral`.

    `chain` holds the issuers, in PEM, of Intel's statements and PCK lists. `role` says from which address a revocation
    list of AMD's is (`vcek` or `vlek`): its content does not.
    """
    admission = _ADMISSIONS.get(kind)
    if admission is None:
        raise RefusedCollateral(f"{kind!r} is no kind of collateral")
    try:
        return admission(data, chain or b"", anchors, role)
    except (AttestationError, DerError) as exc:
        raise RefusedCollateral(f"{kind}: {exc}") from exc


def _vek(kind: str, data: bytes, anchors: Anchors) -> Admitted:
    certificate = read_certificate(data)
    vek = read_vek(certificate)
    anchor, issuer = snp.issuer_of(certificate, anchors)
    if anchor is None or issuer is None or not signed_by(certificate, issuer.key, "rsa-pss-sha384"):
        raise RefusedCollateral(f"{kind}: not issued by a pinned intermediate of AMD's")
    issuers = anchor.vcek_issuers if kind == "vcek" else anchor.vlek_issuers
    line = LINES.get(anchor.line)
    if vek.role != kind.upper() or issuer not in issuers or line is None or line_of_product(vek.product) != line.name:
        raise RefusedCollateral(f"{kind}: issued by {anchor.line}'s for another use ({vek.role} of {vek.product})")
    if not {name for name in line.tcb if name} <= vek.tcb.keys():
        raise RefusedCollateral(f"{kind}: the certificate lacks a component of {line.name}'s TCB")
    tcb = tcb_text(line, vek.tcb)
    if vek.hwid is not None:
        key = (line.name, vek.hwid.hex(), tcb)
    else:
        key = (line.name, tcb, hashlib.sha256(certificate.spki).hexdigest())
    window = (certificate.not_before, certificate.not_after)
    return _admitted(Item(kind, key), data, window, (_seconds(certificate.not_after), 0))


def _vcek(data: bytes, _chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    return _vek("vcek", data, anchors)


def _vlek(data: bytes, _chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    return _vek("vlek", data, anchors)


def _amd_chain(data: bytes, _chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    certificates = read_pem(data)
    for anchor in anchors.amd:
        if all(anchor.pins(found) for found in certificates):
            lent = {issuer.certificate.raw for issuer in anchor.vlek_issuers}
            role = "vlek" if any(found.raw in lent for found in certificates) else "vcek"
            window = (
                max(found.not_before for found in certificates),
                min(found.not_after for found in certificates),
            )
            return _admitted(Item("amd-chain", (anchor.line, role)), data, window, _ONLY)
    raise RefusedCollateral("amd-chain: a certificate in it is not one of AMD's that are pinned")


def _amd_crl(data: bytes, _chain: bytes, anchors: Anchors, role: str) -> Admitted:
    found = read_crl(data)
    anchor = _signer(found, anchors)
    if anchor is None:
        raise RefusedCollateral("amd-crl: not signed by a pinned root of AMD's")
    return _revocation_list(Item("amd-crl", (anchor.line, role)), found, data)


def _signer(found: RevocationList, anchors: Anchors) -> AmdAnchor | None:
    return next((anchor for anchor in anchors.amd if revocation.authentic(anchor.ark, (found,), _PSS)), None)


def _tcb_info(data: bytes, chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    text, signature = read_tcb_info_answer(data)
    _require_signed("tcb-info", text, signature, chain, anchors)
    info = read_tcb_info(text)
    item = Item("tcb-info", (info.id.lower(), info.fmspc.lower()))
    window, order = (info.issueDate, info.nextUpdate), (info.tcbEvaluationDataNumber, _seconds(info.issueDate))
    return _admitted(item, data, window, order, chain=chain)


def _qe_identity(data: bytes, chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    text, signature = read_identity_answer(data)
    _require_signed("qe-identity", text, signature, chain, anchors)
    identity = read_enclave_identity(text)
    if identity.id not in _ENCLAVES:
        raise RefusedCollateral(f"qe-identity: {identity.id} signs no quotes")
    window = (identity.issueDate, identity.nextUpdate)
    order = (identity.tcbEvaluationDataNumber, _seconds(identity.issueDate))
    return _admitted(Item("qe-identity", (_ENCLAVES[identity.id],)), data, window, order, chain=chain)


def _require_signed(kind: str, text: bytes, signature: bytes, chain: bytes, anchors: Anchors) -> None:
    if not statement_signed(tuple(read_pem(chain)), signature, text, anchors):
        raise RefusedCollateral(f"{kind}: not signed by Intel's TCB signing key under a pinned root")


def _pck_crl(data: bytes, chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    certificates, found = tuple(read_pem(chain)), read_crl(data)
    _, authority = pck_authority(certificates, anchors)
    pinned = authority is not None and ends_in_pinned(certificates, anchors)
    if authority is None or not pinned or not revocation.authentic(authority, (found,), "ecdsa-sha256"):
        raise RefusedCollateral("pck-crl: not signed by a PCK CA under a pinned root of Intel's")
    item = Item("pck-crl", (_PCK_CAS[authority.certificate.common_name],))
    return _revocation_list(item, found, data, chain)


def _root_crl(data: bytes, _chain: bytes, anchors: Anchors, _role: str) -> Admitted:
    found = read_crl(data)
    if not any(revocation.authentic(root, (found,), "ecdsa-sha256") for root in anchors.intel):
        raise RefusedCollateral("root-crl: not signed by a pinned root of Intel's")
    return _revocation_list(Item("root-crl", ("intel",)), found, data)


def _cca_key(data: bytes, _chain: bytes, _anchors: Anchors, _role: str) -> Admitted:
    # Arm runs no service that vouches for these keys: whoever verifies has to pin them all the same.
    key = cca.read_collateral(data)
    return _admitted(Item("cca-key", (key.platform_key_sha256,)), data, (_BEGINNING, _FOREVER), _ONLY)


def _revocation_list(item: Item, found: RevocationList, data: bytes, chain: bytes | None = None) -> Admitted:
    window = (found.this_update, found.next_update)
    return _admitted(item, data, window, (found.number or 0, _seconds(found.this_update)), chain=chain)


def _admitted(
    item: Item, data: bytes, window: tuple[datetime, datetime], order: tuple[int, int], *, chain: bytes | None = None
) -> Admitted:
    if not all(0 <= number <= _MOST for number in order):
        raise RefusedCollateral(f"{item.kind}: a serial number of the issue, {max(order)}, is not plausible")
    entry = Entry(
        item=item,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        not_before=window[0].astimezone(UTC),
        not_after=window[1].astimezone(UTC),
        order=order,
        chain_sha256=None if chain is None else hashlib.sha256(chain).hexdigest(),
        chain_size=0 if chain is None else len(chain),
    )
    return Admitted(entry, data, chain)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


_ADMISSIONS: Final[dict[str, Callable[[bytes, bytes, Anchors, str], Admitted]]] = {
    "vcek": _vcek,
    "vlek": _vlek,
    "amd-chain": _amd_chain,
    "amd-crl": _amd_crl,
    "tcb-info": _tcb_info,
    "qe-identity": _qe_identity,
    "pck-crl": _pck_crl,
    "root-crl": _root_crl,
    "cca-key": _cca_key,
}
