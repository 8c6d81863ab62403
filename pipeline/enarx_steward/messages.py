"""What travels below `/v1`, as JSON: these types decode and encode it, and `openapi` describes them.

Bytes are base64, certificates and requests are DER, times are those of RFC 3339.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from enarx_attestation.claims_extension import Digest
from enarx_signing.package_signature import MAX_SIZE as MAX_SIGNATURE

from .appraisal import Appraisal
from .collateral import MAX_FILES
from .csr import MAX_SIZE as MAX_CSR
from .grants import MAX_SECRETS, SECRET_NAME
from .issuance_log import Entry
from .options import Transport
from .package_signers import MAX_SIGNATURES
from .renewal import MAX_CERTIFICATE, MAX_CHAIN

MAX_EVIDENCE: Final = 1 << 20
"""Most bytes of evidence, and of one file of endorsements."""

MAX_KEY: Final = 1024
"""Most bytes of a key that secrets are sealed to; one of X25519 has 44."""
SecretName = Annotated[str, Meta(pattern=rf"^{SECRET_NAME.pattern}\Z")]
FileName = Annotated[str, Meta(pattern=r"^[a-z0-9_.-]{1,64}\Z")]
ChainMember = Annotated[bytes, Meta(max_length=MAX_CERTIFICATE)]
Signature = Annotated[bytes, Meta(min_length=1, max_length=MAX_SIGNATURE)]
FileContent = Annotated[bytes, Meta(max_length=MAX_EVIDENCE)]
Time = Annotated[datetime, Meta(tz=True)]


class EvidenceField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence as it travels."""

    kind: Annotated[str, Meta(min_length=1, max_length=32)]
    data: Annotated[bytes, Meta(max_length=MAX_EVIDENCE)]


class CertificateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is posted to `/v1/certificate`."""

    csr: Annotated[bytes, Meta(min_length=1, max_length=MAX_CSR)]
    nonce: Annotated[bytes, Meta(min_length=16, max_length=64)]
    evidence: EvidenceField
    package: Digest | None = None
    endorsements: Annotated[dict[FileName, FileContent], Meta(max_length=MAX_FILES)] = {}
    signatures: Annotated[list[Signature], Meta(max_length=MAX_SIGNATURES)] = []
    """Envelopes over the package (DSSE)."""


class RenewalBody(CertificateBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is posted to `/v1/renew`: the same, and the chain that is to be renewed, leaf first."""

    chain: Annotated[tuple[ChainMember, ...], Meta(min_length=2, max_length=MAX_CHAIN)]


class SecretsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is posted to `/v1/secrets`: names of secrets, and evidence that commits to the key to seal them to."""

    names: Annotated[tuple[SecretName, ...], Meta(min_length=1, max_length=MAX_SECRETS)]
    key: Annotated[bytes, Meta(min_length=1, max_length=MAX_KEY)]
    """SubjectPublicKeyInfo of an X25519 key (RFC 8410), in DER."""
    nonce: Annotated[bytes, Meta(min_length=16, max_length=64)]
    evidence: EvidenceField
    package: Digest | None = None
    endorsements: Annotated[dict[FileName, FileContent], Meta(max_length=MAX_FILES)] = {}
    certified_by: Digest | None = None
    """Of the intermediate that signed the Keep's certificate, which is to sign the release."""


class Intermediate(msgspec.Struct, frozen=True, kw_only=True):
    """For how long the certificates of an intermediate may be met."""

    policy_sha256: str
    sha256: str
    """Of its certificate."""
    not_before: Time
    not_after: Time


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What a Steward says of itself. The intermediate that signs now comes first."""

    audience: str
    transport: Transport
    root_pem: str
    roots_pem: tuple[str, ...]
    intermediates: tuple[Intermediate, ...]
    policy_sha256: str
    accepts: tuple[str, ...]


class Health(msgspec.Struct, frozen=True):
    """The database answers."""

    status: Literal["ready"] = "ready"


class LogPage(msgspec.Struct, frozen=True):
    """Some entries of the log, in order."""

    entries: list[Entry]
    next: int | None
    """What to give as `after` for the entries that follow; null at the end of the log."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong (RFC 9457). `code` is stable; `checks` are the ids of what failed, where evidence was refused."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str | UnsetType = UNSET
    checks: tuple[str, ...] | UnsetType = UNSET
    appraisal: Appraisal | UnsetType = UNSET
