"""Enarx's wire protocol: what is in the bodies (`POST /`).

application/pkcs10                       in: a CertificationRequest
                                         out: PkiPath ::= SEQUENCE OF Certificate, root first
application/vnd.steward.pkcs10-bundle.v1 in: SEQUENCE OF CertificationRequest
                                         out: SEQUENCE { chain SEQUENCE OF Certificate, issued SEQUENCE OF Certificate }
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from enarx_attestation import der
from enarx_attestation.der import DerError
from enarx_attestation.der_encoding import sequence

from .errors import MalformedRequest
from .issuance import Steward

MEDIA_TYPE_OUT: Final = "application/octet-stream"
MAX_BODY: Final = 2 << 20
"""Most bytes of a body, as in Enarx's Steward."""
MAX_BUNDLE: Final = 64
"""Most requests in one bundle: each costs two signature operations."""


def single(steward: Steward, body: bytes) -> bytes:
    """One request; answers with its PkiPath."""
    version = steward.version
    return sequence([*reversed(version.authority.issuers), steward.certify_enarx(body, version)])


def bundle(steward: Steward, body: bytes) -> bytes:
    """Several requests, all of which are good or none; the certificates are in the order of the requests."""
    try:
        requests = [member.raw for member in der.children(der.whole(body, der.SEQUENCE))]
    except DerError as exc:
        raise MalformedRequest(f"not a bundle of certificate requests: {exc}") from exc
    if len(requests) > MAX_BUNDLE:
        raise MalformedRequest(f"a bundle has at most {MAX_BUNDLE} requests, not {len(requests)}")
    version = steward.version
    issued = [steward.certify_enarx(request, version) for request in requests]
    return sequence([sequence(reversed(version.authority.issuers)), sequence(issued)])


HANDLERS: Final[Mapping[str, Callable[[Steward, bytes], bytes]]] = MappingProxyType(
    {"application/pkcs10": single, "application/vnd.steward.pkcs10-bundle.v1": bundle}
)
"""By media type, which must be exactly one of these."""
