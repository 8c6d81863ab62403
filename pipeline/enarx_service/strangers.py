"""What the library raises for certificates that a stranger wrote, which is more than ValueError, and may come late."""

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
