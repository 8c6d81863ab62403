"""Signatures of packages: made with what describes them, and checked with it.

A signed package has three envelopes: each statement that describes it, for whoever looks for just that, and its own
signature, which is small and names the statements by their digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from enarx_deploy import package_attachments, trusted_signers
from enarx_deploy.errors import PackageError, VerificationRefused
from enarx_deploy.models import Package
from enarx_deploy.protocols import Attachment, AttachmentKind
from enarx_deploy.trusted_signers import signing_faults
from enarx_signing import (
    RefusedSignature,
    Signer,
    Signers,
    SigningError,
    SigningKey,
    dsse,
    package_signature,
    statement,
)
from enarx_signing.dsse import ENVELOPE_TYPE
from enarx_signing.statement import PAYLOAD_TYPE

MOST_SIGNATURES = 16
"""That a request to a Steward carries."""
MOST_BYTES = 1 << 18
"""Of all of them together."""

Statements = dict[AttachmentKind, bytes]
"""In-toto statements by kind."""


class Checked(msgspec.Struct, frozen=True):
    """A package whose signature was checked: who signed it, and the statements that they stand for."""

    signers: tuple[Signer, ...]
    statements: Statements


class _Material(msgspec.Struct, frozen=True):
    digest: dict[str, str] = {}
    annotations: dict[str, Any] = {}


class _Build(msgspec.Struct, frozen=True, rename="camel"):
    """Of provenance (SLSA v1), what a build took (in-toto `ResourceDescriptor`)."""

    resolved_dependencies: list[_Material] = []


def attachments(digest: str, statements: Statements, keys: Sequence[SigningKey]) -> list[Attachment]:
    """What is kept beside a package: the statements as they are or, with keys, in envelopes, and the signature.

    Raises UsageError where a key cannot be used.
    """
    if not keys:
        return [Attachment(kind, PAYLOAD_TYPE, said) for kind, said in statements.items()]
    with signing_faults():
        return [
            *(
                Attachment(kind, ENVELOPE_TYPE, dsse.sign(said, PAYLOAD_TYPE, keys))
                for kind, said in statements.items()
            ),
            signature(digest, statements, keys),
        ]


def signature(digest: str, statements: Statements, keys: Sequence[SigningKey]) -> Attachment:
    """A signature of a package and of what describes it."""
    described: dict[str, str] = {kind: _digest(said) for kind, said in statements.items()}
    with signing_faults():
        return Attachment("signature", ENVELOPE_TYPE, package_signature.sign(digest, described, keys))


def attestation(said: bytes, subject: tuple[str, str], key: SigningKey) -> tuple[str, bytes]:
    """A statement that describes a package, said of what it is in a registry (its name there, its digest): the type of
    its predicate, and the envelope. Raises PackageError, UsageError."""
    name, digest = subject
    with signing_faults():
        found = statement.read(said)
        about = statement.about(digest, name, found.predicate_type, found.predicate)
        return found.predicate_type, dsse.sign(about, PAYLOAD_TYPE, [key])


def statements(found: Iterable[Attachment]) -> Iterator[tuple[AttachmentKind, bytes]]:
    """Each statement among attachments, out of its envelope, and verified by nobody. Raises PackageError."""
    for one in found:
        if one.kind != "signature" and one.media_type == PAYLOAD_TYPE:
            yield one.kind, one.content
        elif one.kind != "signature" and one.media_type == ENVELOPE_TYPE:
            with signing_faults(one.kind):
                yield one.kind, dsse.read(one.content).payload


def signatures(found: Iterable[Attachment]) -> list[bytes]:
    """The signatures among attachments, as envelopes."""
    return [one.content for one in found if one.kind == "signature" and one.media_type == ENVELOPE_TYPE]


def signatures_of(package: Package) -> tuple[bytes, ...]:
    """The signatures beside a package's tree that travel with a request for a certificate.

    Raises UsageError, PackageError, OSError.
    """
    return travelling(package.digest, package_attachments.beside(package), trusted_signers.load(), datetime.now(UTC))


def travelling(digest: str, found: Iterable[Attachment], known: Signers, at: datetime) -> tuple[bytes, ...]:
    """As many signatures of a package as travel with a request, those of `known` keys first.

    Anyone who can write beside a package can put signatures there, which are not to push out the one that counts.
    """
    there = sorted(signatures(found), key=lambda one: not _is_by(known, one, digest, at))
    chosen: list[bytes] = []
    for envelope in there:
        fits = len(chosen) < MOST_SIGNATURES and sum(map(len, chosen)) + len(envelope) <= MOST_BYTES
        if fits and len(envelope) <= package_signature.MAX_SIZE:
            chosen.append(envelope)
    return tuple(chosen)


def _is_by(known: Signers, envelope: bytes, digest: str, at: datetime) -> bool:
    try:
        package_signature.verify(envelope, digest, known, at)
    except SigningError:
        return False
    return True


def summary(one: Attachment) -> dict[str, object]:
    """What an attachment says, in a few words, and the keys that are said to have signed it. Nothing is verified."""
    with signing_faults(one.kind):
        envelope = dsse.read(one.content) if one.media_type == ENVELOPE_TYPE else None
        keys = [signature.key_id for signature in envelope.signatures] if envelope else []
        if envelope is None and one.media_type != PAYLOAD_TYPE:
            return {"keys": keys, "says": one.media_type}
        said = statement.read(one.content if envelope is None else envelope.payload)
    return {"keys": keys, "says": _says(said)}


def _says(said: statement.Statement) -> str:
    """Of provenance the commit, of an SBOM the number of components, of anything else its type."""
    components = said.predicate.get("components")
    if isinstance(components, list):
        return f"{len(components)} components"
    build = said.predicate.get("buildDefinition")
    try:
        materials = msgspec.convert(build, _Build).resolved_dependencies
    except msgspec.ValidationError:
        return said.predicate_type
    source = next((one for one in materials if one.digest.get("gitCommit")), None)
    if source is None:
        return "made from no commit that is known"
    changed = ", with changes that are in no commit" if source.annotations.get("dirty") else ""
    return f"made from commit {ascii(source.digest['gitCommit'])[1:-1]}{changed}"


def check(digest: str, found: Sequence[Attachment], signers: Signers, at: datetime) -> Checked:
    """Check that a trusted key signed a package, and that all that the signer says of it is there.

    1. Some signature among the attachments is one of a trusted key over this package (`package_signature.verify`).
    2. Each statement that it names is there, with the digest that it names.

    Raises VerificationRefused with the reason of each signature.
    """
    reasons = []
    for envelope in signatures(found):
        try:
            signed = package_signature.verify(envelope, digest, signers, at)
            return Checked(signed.signers, _named(signed.described, found))
        except (SigningError, PackageError) as error:
            reasons.append(str(error))
    if not reasons:
        raise VerificationRefused(
            f"{digest}: nobody signed the package",
            hint="one of the keys that you trust must (`enarx-deploy key show`): whoever made it signs by --sign KEY; "
            "--allow-unsigned takes it all the same",
        )
    raise VerificationRefused(
        f"{digest}: {'; '.join(reasons)}",
        hint="`enarx-deploy key show` lists whom you trust, and `key trust` adds a key",
    )


def _named(described: dict[str, str], found: Iterable[Attachment]) -> Statements:
    there = {(kind, _digest(said)): said for kind, said in statements(found)}
    missing = [kind for kind, digest in described.items() if (kind, digest) not in there]
    if missing:
        raise RefusedSignature(f"what the signer says of the package is not there: {', '.join(missing)}")
    return {kind: said for (kind, digest), said in there.items() if described.get(kind) == digest}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
