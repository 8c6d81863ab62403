"""Sources of certificates and secrets, and what passes between one of them and a Keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from enarx_deploy.project import Project


class CertificateRequest(msgspec.Struct, frozen=True):
    """What a Keep sends to get a certificate: a PKCS#10 request (DER) and the evidence for its key.

    `package` is the digest that the evidence commits to, which not every kind of evidence names itself.
    `signatures` are those that lie beside the package, in envelopes (DSSE); the issuer checks them.
    `endorsements` is what the platform handed over with the evidence, by the names of a directory for
    `appraise --endorsements`. It is nobody's word: an issuer may use it, and then checks it.
    """

    csr: bytes
    evidence_kind: str
    evidence: bytes
    endorsements: Mapping[str, bytes] = {}
    package: str | None = None
    signatures: tuple[bytes, ...] = ()


class Issued(msgspec.Struct, frozen=True):
    """A certificate as issued: the chain in DER, leaf first and root last, and the appraisal behind it."""

    chain: tuple[bytes, ...]
    appraisal: Mapping[str, object]


@runtime_checkable
class Issuer(Protocol):
    """A source of certificates.

    An issuance has two steps, because the evidence must answer the issuer's own challenge: `challenge`, which the
    Keep answers with a `CertificateRequest`, then `issue`. `renews` says whether it can be asked again for a Keep that
    runs, by another process and under the same root.

    An attribute ``appraises = False`` says that it looks at no evidence: its certificates say nothing of a Keep, and
    whoever shows one is told so.
    """

    name: str
    renews: bool

    def locate(self, project: Project) -> IssuerLocation:
        """Where the certificates will come from; starts an embedded service when the manifest names none."""

    def challenge(self, location: IssuerLocation) -> Challenge:
        """A fresh challenge. Raises StewardError."""

    def issue(self, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:
        """Have the evidence appraised and the certificate issued. Raises StewardError, VerificationRefused."""


class SecretsRequest(msgspec.Struct, frozen=True):
    """What a Keep sends to get secrets: their names, a key to seal them to (DER), and evidence for that key.

    `certified_by` is the digest of the certificate that its own was issued under. The other fields are as in
    `CertificateRequest`.
    """

    names: tuple[str, ...]
    key: bytes
    evidence_kind: str
    evidence: bytes
    endorsements: Mapping[str, bytes] = {}
    package: str | None = None
    certified_by: str = ""


class ReleasedSecrets(msgspec.Struct, frozen=True):
    """Secrets by name, sealed so that only the Keep can open them, and the Steward's signature over all of it."""

    sealed: Mapping[str, bytes]
    signature: bytes


@runtime_checkable
class SecretsIssuer(Protocol):
    """An issuer that also holds secrets for Keeps. One that does not lacks this method."""

    def release(self, location: IssuerLocation, challenge: Challenge, request: SecretsRequest) -> ReleasedSecrets:
        """Have the evidence appraised and the secrets sealed. Raises StewardError, VerificationRefused."""


class IssuerLocation(msgspec.Struct, frozen=True):
    """An issuer that can be used: its URL ("" where it has none) and its root certificate (PEM), which the Keep pins.

    `root_pem_path` is "" where the root is in no file. `protocol` is how evidence is bound, as `[attest]` says.
    `names` are those that the manifest lists, for an issuer that certifies them.
    """

    url: str
    root_pem: str
    root_pem_path: str
    protocol: Literal["v1", "enarx"] = "v1"
    names: tuple[str, ...] = ()


class Challenge(msgspec.Struct, frozen=True):
    """What the evidence must answer: the issuer's nonce, and the audience it is meant for.

    An empty nonce stands for Enarx's protocol, which has none: the evidence is then bound to the key alone.
    """

    nonce: bytes
    audience: str
