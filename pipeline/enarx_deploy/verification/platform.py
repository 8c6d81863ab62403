"""What verified claims say of the platform, in the words of its vendor; of what is not said, None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from enarx_attestation import Claims, IntelClaims, SgxClaims, SnpClaims, TdxClaims

_TEES: Final = {
    "snp": "AMD SEV-SNP",
    "az-snp": "AMD SEV-SNP behind the vTPM of Azure",
    "sgx": "Intel SGX",
    "tdx": "Intel TDX",
    "nitro": "AWS Nitro Enclaves",
    "cca": "Arm CCA",
}
_VENDORS: Final = {
    "snp": "AMD",
    "az-snp": "AMD",
    "sgx": "Intel",
    "tdx": "Intel",
    "nitro": "AWS",
    "cca": "the vendor of the platform's key",
}
_LINKS: Final[Mapping[str, tuple[str, ...]]] = {
    "snp": (
        "AMD's root key (ARK), pinned",
        "AMD's signing key (ASK or ASVK), pinned",
        "Key of this chip or provider (VCEK or VLEK)",
    ),
    "az-snp": (
        "AMD's root key (ARK), pinned",
        "AMD's signing key (ASK), pinned",
        "Key of this chip (VCEK)",
        "Key of the vTPM",
    ),
    "sgx": ("Intel SGX Root CA, pinned", "Intel's PCK authority", "Key of this platform (PCK)", "Quoting Enclave"),
    "tdx": ("Intel SGX Root CA, pinned", "Intel's PCK authority", "Key of this platform (PCK)", "TD Quoting Enclave"),
    "nitro": ("AWS Nitro Enclaves root, pinned", "Certificate of this enclave"),
    "cca": ("Key of the platform, pinned",),
}


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What vouches, and what it says of itself. `links` lead from the vendor's root to the evidence."""

    tee: str
    vendor: str
    status: str
    tcb: str | None
    advisories: list[str] | None
    debug: bool | None
    measurement: str | None
    links: list[str]


def describe(claims: Claims) -> Platform:
    """The platform behind claims of hardware."""
    kind = claims.kind
    reader = next((read for type_, read in _READERS if isinstance(claims, type_)), None)
    found: Mapping[str, Any] = {} if reader is None else reader(claims)
    return Platform(
        tee=_TEES.get(kind, kind),
        vendor=_VENDORS.get(kind, "its vendor"),
        status=claims.status,
        tcb=found.get("tcb"),
        advisories=found.get("advisories"),
        debug=found.get("debug"),
        measurement=found.get("measurement"),
        links=list(_LINKS.get(kind, ("Root of the vendor, pinned",))),
    )


def _snp(claims: SnpClaims) -> dict[str, Any]:
    parts = msgspec.to_builtins(claims.reported_tcb)
    shown = ", ".join(f"{part} {value}" for part, value in parts.items() if value is not None)
    return {"tcb": shown, "debug": claims.policy["debug"], "measurement": claims.measurement}


def _intel(claims: IntelClaims) -> dict[str, Any]:
    since = f", level of {claims.platform_date:%Y-%m-%d}" if claims.platform_date else ""
    return {
        "tcb": f"platform {claims.platform_status}{since}; quoting enclave {claims.qe_status}",
        "advisories": list(claims.advisories),
    }


def _sgx(claims: SgxClaims) -> dict[str, Any]:
    debug = bool(bytes.fromhex(claims.attributes)[0] & 2)  # SGX ATTRIBUTES.DEBUG, bit 1
    return _intel(claims) | {"debug": debug, "measurement": claims.mrenclave}


def _tdx(claims: TdxClaims) -> dict[str, Any]:
    debug = bytes.fromhex(claims.td_attributes)[0] != 0  # TD ATTRIBUTES.TUD, bits 0 to 7
    return _intel(claims) | {"debug": debug, "measurement": claims.mrtd}


_READERS: Final[tuple[tuple[type[Claims], Callable[[Any], dict[str, Any]]], ...]] = (
    (SnpClaims, _snp),
    (SgxClaims, _sgx),
    (TdxClaims, _tdx),
)
