"""What to ask the vendors for, so that a piece of evidence can be verified.

The answers are made of evidence not verified yet: numbers and names of fixed form, for a caller that has the
vendors' hosts written down. No host or URL is ever taken from evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from .amd_products import LINES, line_of_cpu, tcb_components
from .der import DerError
from .errors import MalformedEvidence
from .intel_collateral import PCK, is_intel
from .intel_pck import read_platform
from .intel_quote import PCK_CHAIN, Quote
from .model import require
from .snp_report import SIGNING_KEYS, SnpEvidence
from .x509 import Certificate, read_pem

_AUTHORITIES: Final[dict[str, Literal["platform", "processor"]]] = {
    "Intel SGX PCK Platform CA": "platform",
    "Intel SGX PCK Processor CA": "processor",
}


class VcekRequest(msgspec.Struct, frozen=True):
    """A chip's key at AMD's key distribution service (57230, section 4.1)."""

    product: str
    """`Milan`, `Genoa` or `Turin`; Siena and Bergamo are asked for as Genoa."""
    hwid: str
    """The chip's identity, hexadecimal."""
    levels: tuple[tuple[str, int], ...]
    """Names and values of the query, such as `blSPL` and 4."""

    @property
    def path(self) -> str:
        """Path and query under the service's host."""
        query = "&".join(f"{name}={value:02}" for name, value in self.levels)
        return f"/vcek/v1/{self.product}/{self.hwid}?{query}"


class PlatformRequest(msgspec.Struct, frozen=True):
    """A platform's TCB info and revocation list at Intel's provisioning certification service."""

    tee: Literal["sgx", "tdx"]
    fmspc: str
    """Hexadecimal."""
    ca: Literal["platform", "processor"]


def vcek_request(report: SnpEvidence, products: Iterable[str] = ()) -> list[VcekRequest]:
    """Requests for the key that signed a report, the likeliest first; none if it was a VLEK or the chip is masked.

    Reports of version 2 do not name the product: one request is made for each of `products`, or for those that had
    such firmware. Raises `MalformedEvidence` for a processor of no known line, `InvalidArgument` for such a product.
    """
    if SIGNING_KEYS.get(report.signing_key) != "VCEK" or not any(report.chip_id):
        return []
    names = [name.lower() for name in products] or ["milan", "genoa"]
    if report.cpuid is not None:
        line = line_of_cpu(report.cpuid[0], report.cpuid[1])
        if line is None:
            raise MalformedEvidence(
                f"a processor of family {report.cpuid[0]:#x}, model {report.cpuid[1]:#x} is not known"
            )
        names = [line]
    require(set(names) <= LINES.keys(), f"products are {', '.join(sorted(LINES))}")
    return [_vcek_request(report, name) for name in names]


def platform_request(quote: Quote) -> PlatformRequest:
    """The request for a quote's collateral.

    Raises `MalformedEvidence` if the quote carries no PCK certificate, `MalformedCollateral` if it is unreadable.
    """
    if quote.certification_type != PCK_CHAIN:
        raise MalformedEvidence(f"certification data of type {quote.certification_type} holds no PCK certificate")
    chain = read_pem(quote.certification_data)
    pck = [found for found in chain if is_intel(found, frozenset({PCK}))]
    issuers = [_AUTHORITIES[found.common_name] for found in chain if found.common_name in _AUTHORITIES]
    if len(pck) != 1 or len(issuers) != 1:
        raise MalformedEvidence("the quote does not carry one PCK certificate and its issuer")
    return PlatformRequest("sgx" if quote.kind == "sgx" else "tdx", _fmspc(pck[0]), issuers[0])


def _vcek_request(report: SnpEvidence, name: str) -> VcekRequest:
    line = LINES[name]
    levels = tcb_components(line, report.reported_tcb)
    hwid = report.chip_id[: line.chip_id_size].hex()
    return VcekRequest(name.capitalize(), hwid, tuple((f"{part}SPL", value) for part, value in levels.items()))


def _fmspc(pck: Certificate) -> str:
    try:
        return read_platform(pck).fmspc.hex()
    except DerError as exc:
        raise MalformedEvidence(f"the PCK certificate cannot be read: {exc}") from exc
