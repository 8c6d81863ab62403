"""Claims of Intel's quotes, and what of them stands in the report of an enclave or a domain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from . import revocation
from .intel_quote import SgxReport, TdReport
from .model import Claims


class IntelClaims(Claims, frozen=True, kw_only=True):
    """What is common to claims of SGX and TDX. `status` is Intel's, converged, or `NotSupported` or `Unverified`."""

    quote_version: int
    verified_at: datetime
    fmspc: str
    ppid: str
    platform_instance_id: str | None
    sgx_type: str
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt: bool | None
    platform_status: str
    platform_date: datetime | None
    qe_status: str
    qe_date: datetime | None
    advisories: tuple[str, ...]
    """Security advisories that apply to the platform, the TDX module or the quoting enclave."""
    evaluation_number: int
    """The lower tcbEvaluationDataNumber of TCB info and enclave identity."""
    collateral_issued: datetime
    """When the older of the two was issued."""
    revocation: revocation.State


class SgxClaims(IntelClaims, frozen=True, kw_only=True):
    """An enclave. Identities are hexadecimal as they stand in the report."""

    mrenclave: str
    mrsigner: str
    isv_prod_id: int
    isv_svn: int
    attributes: str
    misc_select: str
    isv_ext_prod_id: str
    isv_family_id: str
    config_id: str
    config_svn: int


class TdxClaims(IntelClaims, frozen=True, kw_only=True):
    """A domain. Measurements are hexadecimal as they stand in the report."""

    module_status: str
    module_date: datetime | None
    tee_tcb_svn: str
    tee_tcb_svn2: str | None
    mrseam: str
    mrtd: str
    rtmr: tuple[str, ...]
    mrconfigid: str
    mrowner: str
    mrownerconfig: str
    mrservicetd: str | None
    service_td_hashes: tuple[str, ...]
    td_attributes: str
    xfam: str


def enclave(report: SgxReport) -> dict[str, Any]:
    """The fields of `SgxClaims` that stand in the report of an enclave."""
    return {
        "launch_package": _package(report.config_id),
        "mrenclave": report.mrenclave.hex(),
        "mrsigner": report.mrsigner.hex(),
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        "attributes": report.attributes.hex(),
        "misc_select": report.misc_select.hex(),
        "isv_ext_prod_id": report.isv_ext_prod_id.hex(),
        "isv_family_id": report.isv_family_id.hex(),
        "config_id": report.config_id.hex(),
        "config_svn": report.config_svn,
    }


def domain(report: TdReport) -> dict[str, Any]:
    """The fields of `TdxClaims` that stand in the report of a domain."""
    return {
        "launch_package": _package(report.mrconfigid),
        "tee_tcb_svn": report.tee_tcb_svn.hex(),
        "tee_tcb_svn2": report.tee_tcb_svn2.hex() if report.tee_tcb_svn2 is not None else None,
        "mrseam": report.mrseam.hex(),
        "mrtd": report.mrtd.hex(),
        "rtmr": tuple(register.hex() for register in report.rtmr),
        "mrconfigid": report.mrconfigid.hex(),
        "mrowner": report.mrowner.hex(),
        "mrownerconfig": report.mrownerconfig.hex(),
        "mrservicetd": report.mrservicetd.hex() if report.mrservicetd is not None else None,
        "service_td_hashes": tuple(found.hex() for found in report.service_td_hashes),
        "td_attributes": report.td_attributes.hex(),
        "xfam": report.xfam.hex(),
    }


def _package(field: bytes) -> str | None:
    """A package's digest in a field that is longer than it: SHA-256, then zeros."""
    return None if any(field[32:]) else "sha256:" + field[:32].hex()
