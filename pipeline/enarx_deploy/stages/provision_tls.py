"""The default `provision_tls`: evidence for a key that was born in the Keep, against a certificate for that key."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from enarx_deploy import records
from enarx_deploy.errors import KeepError, StewardError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import EndpointIdentity, Identity
from enarx_deploy.protocols import CertifiesItself, Issued, IssuerLocation, Provisions

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from enarx_deploy.models import Deployment
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Issuer, Progress, Target

_NOWHERE = IssuerLocation(url="", root_pem="", root_pem_path="")
_NOTHING = Issued(chain=(), appraisal={})
_FORGED = "does the workload write what strangers send into its log? Such a line may have been taken for the Keep's own"


@hookimpl
def provision_tls(
    project: Project, deployment: Deployment, target: Target, issuer: Issuer, progress: Progress
) -> Identity:
    """Let the Keep serve: with a certificate where it speaks TLS, at once where it does not.

    1. The issuer gives a fresh challenge. 2. The Keep answers with its request and evidence. 3. The issuer appraises
    and issues. 4. The Keep takes the certificate. Where Keeps do that by themselves, what one of them got is recorded;
    another machine that starts Keeps does all four itself.
    Raises StewardError, VerificationRefused, KeepError.
    """
    if isinstance(target, Provisions):
        return target.provision(project, deployment, progress)
    if not needs_certificate(project):
        target.install_certificate(deployment, _NOWHERE, _NOTHING)
        return _identity(deployment, "", _NOWHERE, _NOTHING)
    location = issuer.locate(project)
    if isinstance(target, CertifiesItself):
        progress("looking at the certificate that the Keep got")
        return _identity(deployment, issuer.name, location, _under_root(target.certified(deployment), location))
    progress(f"asking {issuer.name} for a challenge{f' at {location.url}' if location.url else ''}")
    challenge = issuer.challenge(location)
    progress("waiting for the Keep's evidence")
    request = target.request_certificate(deployment, challenge)
    if request is None:
        raise KeepError(
            f"Keep {deployment.id} sent no certificate request, although its manifest has sockets that speak TLS "
            "or names secrets",
            hint=f"`enarx-deploy logs {deployment.id}` shows what it said",
        )
    appraises = getattr(issuer, "appraises", True)
    progress(f"having {request.evidence_kind} evidence appraised" if appraises else f"asking {location.url} to certify")
    issued = issuer.issue(location, challenge, request)
    progress("handing the Keep its certificate")
    target.install_certificate(deployment, location, issued)
    if project.settings.source is not None:
        deployment = as_it_serves(deployment, target)
    return _identity(deployment, issuer.name, location, issued)


def _under_root(issued: Issued, location: IssuerLocation) -> Issued:
    """The same, if it leads to the issuer's root: that it is the Keep's is the word of a log, where others write too.

    Raises StewardError.
    """
    try:
        chain = _certificates(issued)
        is_under_it = bool(chain) and _pem(chain[-1]) == location.root_pem
        leads_there = len(chain) > 1 and all(_issued_by(one, issuer) for one, issuer in pairwise(chain))
    except ValueError as error:
        raise StewardError(f"what the Keep got is no certificate: {error}", hint=_FORGED) from error
    if not is_under_it:
        raise StewardError(
            f"the Keep has a certificate under another root than that of {location.url}",
            hint=f"pinned here: {location.root_pem_path}; find out which of the two is right",
        )
    if not leads_there:
        raise StewardError(f"what the Keep got was not issued by {location.url}", hint=_FORGED)
    return issued


def _issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    try:
        certificate.verify_directly_issued_by(issuer)
        return issuer.extensions.get_extension_for_class(BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, ExtensionNotFound):
        return False


def as_it_serves(deployment: Deployment, target: Target) -> Deployment:
    """With the endpoints that a Keep turned out to have once it had fetched its package."""
    status = next((status for status in target.keeps() if status.id == deployment.id), None)
    return msgspec.structs.replace(deployment, endpoints=status.endpoints) if status else deployment


def needs_certificate(project: Project) -> bool:
    """Whether the Keep needs a certificate: for TLS, for secrets, or to fetch its package with."""
    return project.settings.source is not None or project.manifest.needs_certificate


def _identity(deployment: Deployment, issuer: str, location: IssuerLocation, issued: Issued) -> Identity:
    chain = _certificates(issued)
    pem = "".join(_pem(certificate) for certificate in chain)
    leaf_digest = records.digest_of(issued.chain[0]) if issued.chain else ""
    served = [endpoint.name for endpoint in deployment.endpoints if endpoint.prot == "tls"]
    return Identity(
        issuer=issuer,
        steward_url=location.url,
        root_pem_path=location.root_pem_path,
        not_before=_rfc3339(chain[0].not_valid_before_utc.isoformat()) if chain else "",
        not_after=_rfc3339(min(certificate.not_valid_after_utc for certificate in chain).isoformat()) if chain else "",
        endpoints=[EndpointIdentity(endpoint=name, certificate_sha256=leaf_digest, chain_pem=pem) for name in served],
        appraisal=dict(issued.appraisal),
    )


def _certificates(issued: Issued) -> list[Certificate]:
    if not issued.chain:
        return []
    from cryptography import x509

    return [x509.load_der_x509_certificate(der) for der in issued.chain]


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _rfc3339(moment: str) -> str:
    return moment.replace("+00:00", "Z")
