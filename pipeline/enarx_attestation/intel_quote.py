"""The layout of Intel's ECDSA quotes, versions 3, 4 and 5, of SGX enclaves and TDX domains.

Intel SGX ECDSA Quote Library Reference, appendix A.4; Intel TDX DCAP Quoting Library API, appendix A.3.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .errors import MalformedEvidence
from .model import Evidence

MAX_SIZE: Final = 1 << 16
"""Most bytes of a quote."""
HEADER: Final = 48
SGX_REPORT: Final = 384
TD_REPORT_10: Final = 584
TD_REPORT_15: Final = 648
TD_REPORT_15_EX: Final = 885
ECDSA_P256: Final = 2
TEE_SGX: Final = 0
TEE_TDX: Final = 0x81
PCK_CHAIN: Final = 5
"""Certification data: the PCK certificate's chain in PEM. Types 1 to 4 name the platform without certificates."""
_QE_REPORT_DATA: Final = 6
_BODIES: Final = {
    1: (TEE_SGX, SGX_REPORT),
    2: (TEE_TDX, TD_REPORT_10),
    3: (TEE_TDX, TD_REPORT_15),
    4: (TEE_TDX, TD_REPORT_15_EX),
}
"""Body types of version 5: the kind of Keep, and bytes."""


class SgxReport(msgspec.Struct, frozen=True, kw_only=True):
    """An enclave's report body; also that of the quoting enclave."""

    cpu_svn: bytes
    misc_select: bytes
    isv_ext_prod_id: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes


class TdReport(msgspec.Struct, frozen=True, kw_only=True):
    """A domain's report body: 1.0, 1.5, or 1.5 with what migration adds; the last fields are not in the former ones."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn2: bytes | None
    """TCB of the module that runs now, where the domain outlived an update of it."""
    mrservicetd: bytes | None
    service_td_hashes: tuple[bytes, ...]
    """Service domains at the start and now, of a domain that can be migrated."""


class Quote(Evidence, frozen=True, kw_only=True):
    """A quote, taken apart and nothing more."""

    version: int
    qe_vendor_id: bytes
    body: SgxReport | TdReport
    signed: bytes
    """Header and body, over which the attestation key signs."""
    signature: bytes
    attestation_key: bytes
    qe_report_raw: bytes
    qe_report: SgxReport
    qe_report_signature: bytes
    qe_authentication_data: bytes
    certification_type: int
    certification_data: bytes


class _Reader:
    """Takes fields off the front of a buffer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise MalformedEvidence(f"the quote is cut short: {size} bytes are missing at {self.position}")
        field = self._data[self.position : end]
        self.position = end
        return field

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def finish(self) -> None:
        # Quotes come in fixed buffers; what lies behind is not signed, and is zero in every genuine one.
        if any(self._data[self.position :]):
            raise MalformedEvidence("bytes that are not zero follow the quote")


def parse_sgx(data: bytes) -> Quote:
    """Read a quote of an enclave. Raises `MalformedEvidence`."""
    return _parse(data, TEE_SGX)


def parse_tdx(data: bytes) -> Quote:
    """Read a quote of a domain. Raises `MalformedEvidence`."""
    return _parse(data, TEE_TDX)


def recognise_sgx(data: bytes) -> bool:
    """Whether the bytes begin like a quote of an enclave."""
    return _tee(data) == TEE_SGX


def recognise_tdx(data: bytes) -> bool:
    """Whether the bytes begin like a quote of a domain."""
    return _tee(data) == TEE_TDX


def _tee(data: bytes) -> int | None:
    version, key_type = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    if len(data) < HEADER + SGX_REPORT or version not in {3, 4, 5} or key_type != ECDSA_P256:
        return None
    return int.from_bytes(data[4:8], "little")


def _parse(data: bytes, tee: int) -> Quote:
    reader = _Reader(data)
    version, key_type, found_tee = reader.number(2), reader.number(2), reader.number(4)
    if version not in {3, 4, 5} or key_type != ECDSA_P256:
        raise MalformedEvidence(f"a quote of version {version} with key type {key_type} is not supported")
    if found_tee != tee:
        raise MalformedEvidence(f"this quote is of TEE type {found_tee:#x}, not {tee:#x}")
    reader.take(4)
    vendor = reader.take(16)
    reader.take(20)
    body = reader.take(_body_size(reader, version, tee))
    signed = data[: reader.position]
    signature_data = _Reader(reader.take(reader.number(4)))
    reader.finish()
    signature, key = signature_data.take(64), signature_data.take(64)
    inner = signature_data if version == 3 else _qe_report_data(signature_data)
    qe_report, qe_signature = inner.take(SGX_REPORT), inner.take(64)
    authentication = inner.take(inner.number(2))
    certification_type = inner.number(2)
    certification = inner.take(inner.number(4))
    inner.finish()
    return Quote(
        kind="sgx" if tee == TEE_SGX else "tdx",
        raw=data,
        version=version,
        qe_vendor_id=vendor,
        body=_sgx_report(body) if tee == TEE_SGX else _td_report(body),
        signed=signed,
        signature=signature,
        attestation_key=key,
        qe_report_raw=qe_report,
        qe_report=_sgx_report(qe_report),
        qe_report_signature=qe_signature,
        qe_authentication_data=authentication,
        certification_type=certification_type,
        certification_data=certification,
    )


def _body_size(reader: _Reader, version: int, tee: int) -> int:
    """Bytes of the body; version 5 says so itself, and must not contradict its header."""
    if version < 5:
        if version == 3 and tee != TEE_SGX:
            raise MalformedEvidence("a quote of version 3 is of an enclave")
        return SGX_REPORT if tee == TEE_SGX else TD_REPORT_10
    body_type, size = reader.number(2), reader.number(4)
    if _BODIES.get(body_type) != (tee, size):
        raise MalformedEvidence(f"body type {body_type} of {size} bytes is not supported for TEE type {tee:#x}")
    return size


def _qe_report_data(reader: _Reader) -> _Reader:
    """The quoting enclave's certification data, which from version 4 on is wrapped once more."""
    certification_type, size = reader.number(2), reader.number(4)
    if certification_type != _QE_REPORT_DATA:
        raise MalformedEvidence(f"expected certification data of type 6, not {certification_type}")
    inner = _Reader(reader.take(size))
    reader.finish()
    return inner


def _sgx_report(data: bytes) -> SgxReport:
    return SgxReport(
        cpu_svn=data[:16],
        misc_select=data[16:20],
        isv_ext_prod_id=data[32:48],
        attributes=data[48:64],
        mrenclave=data[64:96],
        mrsigner=data[128:160],
        config_id=data[192:256],
        isv_prod_id=int.from_bytes(data[256:258], "little"),
        isv_svn=int.from_bytes(data[258:260], "little"),
        config_svn=int.from_bytes(data[260:262], "little"),
        isv_family_id=data[304:320],
        report_data=data[320:384],
    )


def _td_report(data: bytes) -> TdReport:
    extended = len(data) >= TD_REPORT_15
    return TdReport(
        tee_tcb_svn=data[:16],
        mrseam=data[16:64],
        mrsignerseam=data[64:112],
        seam_attributes=data[112:120],
        td_attributes=data[120:128],
        xfam=data[128:136],
        mrtd=data[136:184],
        mrconfigid=data[184:232],
        mrowner=data[232:280],
        mrownerconfig=data[280:328],
        rtmr=(data[328:376], data[376:424], data[424:472], data[472:520]),
        report_data=data[520:584],
        tee_tcb_svn2=data[584:600] if extended else None,
        mrservicetd=data[600:648] if extended else None,
        service_td_hashes=(data[729:777], data[829:877]) if len(data) == TD_REPORT_15_EX else (),
    )
