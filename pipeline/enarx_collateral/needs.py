"""Which items evidence needs.

The names are made of evidence that is not verified yet, of numbers in fixed forms alone. Whoever sends made-up
evidence can have the store looked into for items that do not exist, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from enarx_attestation import Evidence
from enarx_attestation.amd_products import LINES, line_of_cpu, tcb_components
from enarx_attestation.intel_quote import Quote
from enarx_attestation.lookup import platform_request, vcek_request
from enarx_attestation.snp_report import SIGNING_KEYS, SnpEvidence

from .item import Item, tcb_text, vcek

ROOT_CRL: Final = Item("root-crl", ("intel",))


def alternatives(evidence: Evidence, products: Iterable[str] = ()) -> tuple[tuple[Item, ...], ...]:
    """Sets of items that a vendor gives to everyone, the likeliest first; one set is enough.

    There are several only for a report that does not name its product line, of which `products` names those that come
    into question. None for kinds that need nothing of a vendor's. Raises `MalformedEvidence`, `MalformedCollateral` if
    certificates in a quote cannot be read, and `InvalidArgument` for an unknown product.
    """
    report = report_of(evidence)
    if report is not None and signing_key(report) == "VLEK":
        return tuple(amd_items(line, "vlek") for line in lines_of(report, products))
    if report is not None:
        return tuple((key, *amd_items(key.key[0], "vcek")) for key in vcek_items(report, products))
    return (platform_items(evidence),) if isinstance(evidence, Quote) else ()


def report_of(evidence: Evidence) -> SnpEvidence | None:
    """The SNP report in evidence of AMD's platforms, whatever surrounds it."""
    found = getattr(evidence, "report", evidence)
    return found if isinstance(found, SnpEvidence) else None


def signing_key(report: SnpEvidence) -> str:
    """VCEK or VLEK, or nothing if neither signed."""
    return SIGNING_KEYS.get(report.signing_key, "")


def lines_of(report: SnpEvidence, products: Iterable[str] = ()) -> tuple[str, ...]:
    """The product lines that a report may be of."""
    if report.cpuid is not None:
        line = line_of_cpu(report.cpuid[0], report.cpuid[1])
        return () if line is None else (line,)
    return tuple(name.lower() for name in products) or ("milan", "genoa")


def vcek_items(report: SnpEvidence, products: Iterable[str] = ()) -> tuple[Item, ...]:
    """The keys that may have signed a report; none if it was a VLEK, or the host masks the chip's identity."""
    requests = vcek_request(report, products)
    lines = [LINES[request.product.lower()] for request in requests]
    return tuple(
        vcek(line.name, request.hwid, tcb_text(line, tcb_components(line, report.reported_tcb)))
        for line, request in zip(lines, requests, strict=True)
    )


def amd_items(line: str, role: str) -> tuple[Item, Item]:
    """Issuers and revocation list of one role's keys."""
    return Item("amd-chain", (line, role)), Item("amd-crl", (line, role))


def platform_items(quote: Quote) -> tuple[Item, Item, Item, Item]:
    """TCB info, QE identity, and the revocation lists of PCK CA and root."""
    request = platform_request(quote)
    return (
        Item("tcb-info", (request.tee, request.fmspc)),
        Item("qe-identity", (request.tee,)),
        Item("pck-crl", (request.ca,)),
        ROOT_CRL,
    )
