"""The small interfaces that a provider implements. A plugin is one object of one of these.

Providers are registered by the hooks of `enarx_deploy.hookspecs`, looked up by `name`, and hold no state of a run.
Import them from here: each module of this package has one kind of them, with what passes to it and from it.
"""

from __future__ import annotations

from enarx_deploy.protocols.backend import (
    Attested,
    Attests,
    Backend,
    BootsImage,
    CanPrepare,
    KeepProcess,
    Launch,
    OwnMachine,
    RemembersTrials,
)
from enarx_deploy.protocols.issuer import (
    CertificateRequest,
    Challenge,
    Issued,
    Issuer,
    IssuerLocation,
    ReleasedSecrets,
    SecretsIssuer,
    SecretsRequest,
)
from enarx_deploy.protocols.progress import Progress, silent
from enarx_deploy.protocols.registry import (
    ATTACHMENT_LIMIT,
    ATTACHMENTS_LIMIT,
    ArtifactRegistry,
    Attachment,
    AttachmentKind,
    AttestableRegistry,
    Registry,
    ServesKeeps,
    SignableRegistry,
)
from enarx_deploy.protocols.target import (
    CanRender,
    CertifiesItself,
    Elsewhere,
    HasGuests,
    HasOwnTable,
    KeepsScale,
    Located,
    Measures,
    Provisions,
    Replicas,
    ReportsProgress,
    Target,
    Versions,
)
from enarx_deploy.protocols.toolchain import FindsForProject, MissingTool, Tool, Toolchain

__all__ = [
    "ATTACHMENTS_LIMIT",
    "ATTACHMENT_LIMIT",
    "ArtifactRegistry",
    "Attachment",
    "AttachmentKind",
    "AttestableRegistry",
    "Attested",
    "Attests",
    "Backend",
    "BootsImage",
    "CanPrepare",
    "CanRender",
    "CertificateRequest",
    "CertifiesItself",
    "Challenge",
    "Elsewhere",
    "FindsForProject",
    "HasGuests",
    "HasOwnTable",
    "Issued",
    "Issuer",
    "IssuerLocation",
    "KeepProcess",
    "KeepsScale",
    "Launch",
    "Located",
    "Measures",
    "MissingTool",
    "OwnMachine",
    "Progress",
    "Provisions",
    "Registry",
    "ReleasedSecrets",
    "RemembersTrials",
    "Replicas",
    "ReportsProgress",
    "SecretsIssuer",
    "SecretsRequest",
    "ServesKeeps",
    "SignableRegistry",
    "Target",
    "Tool",
    "Toolchain",
    "Versions",
    "silent",
]
