"""Checks a certificate chain as it comes back, before it is handed to the Keep, which checks it again.

For the Steward may have been asked through a network, and a certificate for another key, or by another authority,
would only be noticed by the clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation.strangers import read_certificate
from enarx_deploy.errors import StewardError

MAX_LENGTH: Final = 8
"""Most certificates of a chain: leaf, the intermediate of a policy, and the path from the Steward's key to a root."""
_FAULTS: Final = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for certificates that cannot be read, or are not the issuer's."""


def check(chain: Sequence[bytes], csr: bytes, root_pem: str) -> None:
    """Check a chain (DER, leaf first, root last) for the key of a request (DER). Raises StewardError.

    1. The last certificate is the pinned root, byte for byte; or an authority in it has the root's key and name, as
       where the Steward's root is certified by another root as well.
    2. Each is issued by the next, which is an authority.
    3. The first is not an authority, and has the request's key.
    4. All are valid now.
    """
    try:
        certificates = [*map(read_certificate, chain[:-1]), *map(x509.load_der_x509_certificate, chain[-1:])]
        fault = _fault(certificates, x509.load_der_x509_csr(csr), x509.load_pem_x509_certificate(root_pem.encode()))
    except _FAULTS as error:
        raise _refused(f"it cannot be checked: {str(error) or type(error).__name__}") from error
    if fault:
        raise _refused(fault)


def _fault(chain: list[x509.Certificate], request: x509.CertificateSigningRequest, root: x509.Certificate) -> str:
    if not 2 <= len(chain) <= MAX_LENGTH:
        return f"it has {len(chain)} certificates"
    if not any(_is_same_authority(certificate, root) for certificate in chain[1:]):
        return "it does not lead to the pinned root certificate"
    for issued, issuer in pairwise(chain):
        issued.verify_directly_issued_by(issuer)
        if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return f"{issuer.subject.rfc4514_string()} is not an authority"
    if _is_authority(chain[0]):
        return "its first certificate is an authority's"
    if _spki(chain[0]) != _spki(request):
        return "its first certificate is for another key than was asked for"
    now = datetime.now(UTC)
    if not all(one.not_valid_before_utc <= now < one.not_valid_after_utc for one in [*chain, root]):
        return "it is not valid now; is the clock right, here and there?"
    return ""


def _is_same_authority(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    return certificate.subject == root.subject and _spki(certificate) == _spki(root)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:  # as in the certificates of Enarx's own Steward
        return False


def _spki(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _refused(fault: str) -> StewardError:
    return StewardError(f"the issuer's certificate chain is not good: {fault}", hint="nothing was handed to the Keep")
