"""Places where packages are published and fetched, and what some of them can do beside that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

from enarx_deploy.protocols.progress import Progress, silent

if TYPE_CHECKING:
    from enarx_deploy.models import Package, PackageSource, Published


@runtime_checkable
class Registry(Protocol):
    """A place where packages are published and fetched. A reference begins with one of `schemes`.

    This is the least; one that is an `ArtifactRegistry` can do what `info`, `search` and `yank` ask for, too.
    """

    name: str
    schemes: tuple[str, ...]

    def publish(self, package: Package, reference: str) -> str:
        """Store the package; returns its reference with the digest."""

    def fetch(self, reference: str, into: Path) -> Package:
        """Get a package, check it against its digest, and lay its tree under `into`."""


AttachmentKind = Literal["sbom", "provenance", "signature"]
ATTACHMENT_LIMIT = 16 << 20
"""Bytes of the largest attachment."""
ATTACHMENTS_LIMIT = 64
"""Attachments that are read of one package."""


class Attachment(msgspec.Struct, frozen=True):
    """What is said about a package, and kept beside it: `content` as it is, and its media type.

    A registry vouches for none of it: whoever can write there can attach what they like.
    """

    kind: AttachmentKind
    media_type: str
    content: bytes


@runtime_checkable
class ArtifactRegistry(Registry, Protocol):
    """A registry that keeps attachments, has tags, and can be asked what it has.

    Every method raises NotPublished where the registry says that there is no such package, and RegistryError where it
    cannot be reached or refuses. A reference is as `enarx_deploy.reference` parses it.
    """

    def publish(
        self,
        package: Package,
        reference: str,
        attachments: Sequence[Attachment] = (),
        progress: Progress = silent,
        created: int = 0,
    ) -> str:
        """Store the package and what is attached to it, the name that makes it visible last.

        `created` is the date of its sources in seconds since 1970, never that of today. Publishing again changes
        nothing. Returns the reference with the digest.
        """

    def fetch(self, reference: str, into: Path, progress: Progress = silent) -> Package:
        """Get a package, check it against its digest, and lay its tree under `into`: all of it or nothing."""

    def resolve(self, reference: str) -> Published:
        """What the registry says of the package that a reference names."""

    def attachments(self, reference: str) -> list[Attachment]:
        """What is attached to a package, by anyone who could write there: at most ATTACHMENTS_LIMIT."""

    def tags(self, reference: str) -> list[str]:
        """Every tag of a reference's repository, at most some thousands."""

    def search(self, place: str, words: Sequence[str]) -> Iterator[Published]:
        """The packages in a registry, or a part of it, in whose name each word is found. Yanked ones are among them."""

    def yank(self, reference: str, reason: str) -> None:
        """Withdraw a package: its tag names it no more. By its digest it can still be had."""


@runtime_checkable
class ServesKeeps(ArtifactRegistry, Protocol):
    """A registry from which a Keep can fetch its package itself, in Drawbridge's protocol and by TLS."""

    def source(self, reference: str) -> PackageSource:
        """Where a Keep finds the package that a reference names by its digest. Nothing of the package is fetched.

        Raises UsageError where no Keep can fetch it, NotPublished, RegistryError.
        """


@runtime_checkable
class SignableRegistry(ArtifactRegistry, Protocol):
    """A registry whose own tools look for signatures over what is theirs: in OCI cosign, over the manifest."""

    def signing_payload(self, reference: str) -> bytes:
        """What such a signature of a published package is made over."""

    def add_signature(self, reference: str, payload: bytes, signature: bytes) -> None:
        """Keep a signature over `signing_payload` where those tools look for it, beside those that are there."""


@runtime_checkable
class AttestableRegistry(SignableRegistry, Protocol):
    """A registry whose own tools look for attestations about what is theirs: in OCI cosign, about the manifest."""

    def attestation_subject(self, reference: str) -> tuple[str, str]:
        """What such an attestation of a published package is about: a name for people, and a digest."""

    def add_attestation(self, reference: str, predicate_type: str, envelope: bytes) -> None:
        """Keep an in-toto statement about that, in its envelope (DSSE), where those tools look for it."""
