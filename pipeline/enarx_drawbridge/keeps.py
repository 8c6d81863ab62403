"""The certificate of a Keep, which a Steward issued on evidence, and the package that it names.

That the certificate is good is known from TLS, which takes no other; here it is read what it says. A connection may
outlive it: its end is looked at for each request.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography import x509

from enarx_attestation import claims_extension
from enarx_attestation.strangers import UNREADABLE, read_certificate

from .errors import Forbidden
from .policy import Keeps

_CLAIMS: Final = x509.ObjectIdentifier(claims_extension.OID)
_NOT_SERVED: Final = "This certificate is not for this package"
"""Whatever else there may be under the name: who may not see it is not told."""


def package_of(der: bytes, keeps: Keeps, now: datetime) -> str:
    """The SHA-256 (hexadecimal) of the package that a certificate names.

    SPIFFE URI and claims must say the same. Raises `Forbidden`, also for a Keep without hardware protection unless the
    policy asks for those.
    """
    try:
        certificate = read_certificate(der)
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        value = extensions.get_extension_for_oid(_CLAIMS).value
        claims = claims_extension.decode(getattr(value, "value", b"")).claims
    except (*UNREADABLE, claims_extension.Malformed) as error:
        raise Forbidden("This certificate is not one of a Keep") from error
    if now >= certificate.not_valid_after_utc:
        raise Forbidden("This certificate has ended")
    if claims.package is None:
        raise Forbidden("This certificate names no package")
    if not claims.hardware and not keeps.unprotected:
        raise Forbidden("This certificate is of a Keep without hardware protection, and those are not served here")
    named = f"spiffe://{keeps.trust_domain}/package/{claims.package.replace(':', '/')}"
    if [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith("spiffe:")] != [
        named
    ]:
        raise Forbidden(f"This certificate is not one of the trust domain {keeps.trust_domain}")
    return claims.package.removeprefix("sha256:")


def require(package: str, root: str | None) -> None:
    """Raise `Forbidden` unless a tag's root (None if there is no such tag) is the package."""
    if package != root:
        raise Forbidden(_NOT_SERVED)
