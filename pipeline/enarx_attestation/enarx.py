"""Evidence in the form in which Enarx's Keeps put it into a certificate request: DER, in an extension of `oids`.

    CrlList     ::= SEQUENCE { crls SEQUENCE OF SEQUENCE { url UTF8String, crl CertificateList } }
    SnpEvidence ::= SEQUENCE { crts SEQUENCE { vcek Certificate, crl CrlList }, report OCTET STRING }
    SgxEvidence ::= SEQUENCE { quote OCTET STRING, crl CrlList,
                               tcb SEQUENCE { crts SEQUENCE OF Certificate, report OCTET STRING } }

The URLs are the host's word and are not looked at: what a list speaks of is said by its issuer.
"""

from __future__ import annotations

import msgspec

from . import der
from .der import DerError, Element
from .errors import MalformedEvidence
from .snp import SnpCollateral
from .x509 import read_certificate, read_crl

MAX_SIZE = 1 << 18
"""Most bytes of such evidence."""
MAX_CRLS = 8


class EnarxSgx(msgspec.Struct, frozen=True, kw_only=True):
    """What a Keep on SGX sends: a quote, and collateral that may be as old as the host likes."""

    quote: bytes
    crls: tuple[bytes, ...]
    tcb_chain: tuple[bytes, ...]
    """Certificates in DER."""
    tcb_info: bytes
    """Intel's answer as JSON: `tcbInfo` and `signature`."""


def read_snp(data: bytes) -> tuple[bytes, SnpCollateral]:
    """The report and its collateral. Raises `MalformedEvidence`, or `MalformedCollateral`."""
    try:
        certificates, report = der.fields(_whole(data), der.SEQUENCE, der.OCTET_STRING)
        vcek, crls = der.fields(certificates, der.SEQUENCE, der.SEQUENCE)
        lists = _crls(crls)
    except DerError as exc:
        raise MalformedEvidence(f"not Enarx's evidence of SNP: {exc}") from exc
    return report.content, SnpCollateral(vek=read_certificate(vcek.raw), crls=tuple(read_crl(found) for found in lists))


def read_sgx(data: bytes) -> EnarxSgx:
    """The quote and what came with it. Raises `MalformedEvidence`."""
    try:
        quote, crls, tcb = der.fields(_whole(data), der.OCTET_STRING, der.SEQUENCE, der.SEQUENCE)
        chain, info = der.fields(tcb, der.SEQUENCE, der.OCTET_STRING)
        return EnarxSgx(
            quote=quote.content,
            crls=_crls(crls),
            tcb_chain=tuple(certificate.raw for certificate in der.children(chain)),
            tcb_info=info.content,
        )
    except DerError as exc:
        raise MalformedEvidence(f"not Enarx's evidence of SGX: {exc}") from exc


def _whole(data: bytes) -> Element:
    if len(data) > MAX_SIZE:
        raise MalformedEvidence(f"Enarx's evidence has at most {MAX_SIZE} bytes, not {len(data)}")
    return der.whole(data, der.SEQUENCE)


def _crls(parent: Element) -> tuple[bytes, ...]:
    pairs = der.children(der.only(parent, der.SEQUENCE))
    if len(pairs) > MAX_CRLS:
        raise DerError("too many revocation lists")
    return tuple(der.fields(pair, der.UTF8_STRING, der.SEQUENCE)[1].raw for pair in pairs)
