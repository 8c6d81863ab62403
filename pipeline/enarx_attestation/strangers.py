"""Certificates that a stranger wrote: how they are read, and what the library raises for them.

That is more than ValueError, and may come late. What somebody trusts by itself is not read here: some roots of public
authorities, and AMD's endorsement keys, have the serial number 0.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from . import der

UNREADABLE: Final = (
    ValueError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""By reading a certificate or one of its extensions."""
NOT_ISSUED: Final = (*UNREADABLE, InvalidSignature, TypeError, UnsupportedAlgorithm)
"""By checking who issued it."""
_VERSION: Final = 0xA0


def read_certificate(data: bytes) -> x509.Certificate:
    """Read a certificate (DER). Raises what `UNREADABLE` lists, and TypeError.

    A serial number that is not positive is refused (RFC 5280, 4.1.2.2), of which the library only warns.
    """
    _require_positive_serial(data)
    return x509.load_der_x509_certificate(data)


def _require_positive_serial(data: bytes) -> None:
    """Raises ValueError. What is no certificate at all is left to the library."""
    try:
        certificate = der.whole(data, der.SEQUENCE)
        first, second, *_ = der.children(der.children(certificate)[0])
    except (ValueError, IndexError):
        return
    serial = second if first.tag == _VERSION else first
    if serial.tag == der.INTEGER and int.from_bytes(serial.content, signed=True) <= 0:
        raise ValueError("its serial number is not positive, as RFC 5280 (4.1.2.2) demands")
