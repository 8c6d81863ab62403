"""Certificates that a stranger wrote: how they are read, and what the library raises for them.

That is more than ValueError, and may come late. What somebody trusts by itself is not read here: some roots of public
authorities, and AMD's endorsement keys, have the serial number 0.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

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
_INTEGER: Final = 0x02


def read_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate (DER). Raises what `UNREADABLE` lists, and TypeError.

    A serial number that is not positive is refused (RFC 5280, 4.1.2.2), of which the library only warns.
    """
    _require_positive_serial(der)
    return x509.load_der_x509_certificate(der)


def _require_positive_serial(der: bytes) -> None:
    """Raises ValueError. What is no certificate at all is left to the library."""
    try:
        at, _ = _inside(der, _inside(der, 0)[0])
        if der[at] == _VERSION:
            at = _inside(der, at)[1]
        start, end = _inside(der, at)
        is_positive = der[at] != _INTEGER or int.from_bytes(der[start:end], signed=True) > 0
    except IndexError:
        return
    if not is_positive:
        raise ValueError("its serial number is not positive, as RFC 5280 (4.1.2.2) demands")


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` starts and ends (X.690, 8.1.3). Raises IndexError."""
    length, start = der[at + 1], at + 2
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start])
    return start, start + length
