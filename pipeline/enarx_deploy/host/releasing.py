"""One release of secrets to a Keep that this process holds: challenge, evidence, appraisal, sealed secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from enarx_deploy.errors import StewardError
from enarx_deploy.protocols import SecretsIssuer

if TYPE_CHECKING:
    from enarx_deploy.host.session import Session
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Issuer, ReleasedSecrets


def release(session: Session, issuer: Issuer, project: Project, names: Sequence[str]) -> ReleasedSecrets:
    """Have the issuer of the Keep's certificate release the secrets to it, sealed: this process learns their sizes.

    Raises StewardError, VerificationRefused, KeepError.
    """
    if not isinstance(issuer, SecretsIssuer):
        raise StewardError(
            f"the issuer {issuer.name!r} holds no secrets, and the manifest names {', '.join(names)}",
            hint="a Steward does: name one as `steward` in the manifest, or deploy with `enarx-deploy up`",
        )
    location = issuer.locate(project)
    challenge = issuer.challenge(location)
    return issuer.release(location, challenge, session.claim(names, challenge))
