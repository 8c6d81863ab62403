"""One issuance for a Keep that this process holds: challenge, evidence, appraisal, certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy.errors import StewardError

if TYPE_CHECKING:
    from enarx_deploy.host.session import Session
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Challenge, Issuer, IssuerLocation


class Certified(NamedTuple):
    """What was issued, and by whom: the issuer's URL, when the certificate is valid (RFC 3339), the chain (DER)."""

    url: str
    root: bytes
    not_before: str
    not_after: str
    chain: tuple[bytes, ...] = ()


def certify(session: Session, issuer: Issuer, project: Project, root: bytes = b"") -> Certified:
    """Let the Keep have a certificate under `root` (DER), or where that is empty under the root that the issuer has.

    Raises StewardError, VerificationRefused, KeepError.
    """
    location = issuer.locate(project)
    shown = x509.load_pem_x509_certificate(location.root_pem.encode()).public_bytes(Encoding.DER)
    challenge = issuer.challenge(location) if root in (b"", shown) else None
    if challenge is None:
        location = _under(root, location)
        challenge = _challenge_of_another_root(issuer, location)
    issued = issuer.issue(location, challenge, session.certify(challenge))
    session.install(issued.chain, root or shown)
    leaf = x509.load_der_x509_certificate(issued.chain[0])
    return Certified(
        url=location.url,
        root=root or shown,
        not_before=leaf.not_valid_before_utc.isoformat().replace("+00:00", "Z"),
        not_after=leaf.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
        chain=tuple(issued.chain),
    )


def _under(root: bytes, location: IssuerLocation) -> IssuerLocation:
    """The same issuer, to issue under a root that it had before: it may serve that beside its new one for a while."""
    pem = x509.load_der_x509_certificate(root).public_bytes(Encoding.PEM).decode()
    return msgspec.structs.replace(location, root_pem=pem, root_pem_path="")


def _challenge_of_another_root(issuer: Issuer, location: IssuerLocation) -> Challenge:
    try:
        return issuer.challenge(location)
    except StewardError as error:
        raise StewardError(
            f"{issuer.name} has another root certificate now than when this Keep was started",
            hint="those who connect pinned the old one: find out why it changed, then deploy anew",
        ) from error
