"""Evidence of a Keep that no hardware protects: the kinds `nil` (a process) and `kvm` (a virtual machine).

It is a JSON document that anyone could have written, and it says so: a verdict over it is about the document's form and
binding only. It exists so that the same road can be walked on any machine; a policy accepts it only by a section of
its name.

    {"kind":"nil","package":"sha256:<64 hex>","report_data":"<128 hex>"}
    {"kind":"kvm","package":"sha256:<64 hex>","report_data":"<128 hex>","image":"sha256:<64 hex>"}
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from .anchors import Anchors
from .checks import Rule, Sheet
from .errors import InvalidArgument, MalformedEvidence
from .model import Claims, Collateral, Evidence
from .reading import read_json
from .section import Section, constrained, digests

MAX_SIZE: Final = 1024
"""Most bytes of a document."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Hex64 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]

_PLACE: Final = "docs/architecture.md, the Keep"
_RULES: Final = {
    "unprotected": Rule(
        "Name the kind in the policy only if a Keep that its host can read and change is good enough.", _PLACE
    ),
    "package": Rule("Add the package's digest to `packages` of the policy section.", _PLACE),
    "image": Rule("Add the image's digest to `images` of the policy section.", _PLACE),
}
RULES: Final = {kind: {f"{kind}.{id}": rule for id, rule in _RULES.items()} for kind in ("nil", "kvm")}
"""By kind, as check IDs begin with it."""
REQUIRED: Final = {kind: frozenset({f"{kind}.unprotected"}) for kind in RULES}


class NilPolicy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sections `[nil]` and `[kvm]`: Keeps that no hardware protects."""

    images: tuple[str, ...] = ()
    """`sha256:<hex>` of accepted images (`kvm` only); empty accepts any."""

    def __post_init__(self) -> None:
        super().__post_init__()
        digests("images", self.images)
        constrained(self, "packages")


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The document, field by field in its canonical order."""

    kind: Literal["nil", "kvm"]
    package: Digest
    report_data: Hex64
    image: Digest | None = None


class NilEvidence(Evidence, frozen=True, kw_only=True):
    """A document that was read."""

    document: Document


class NilClaims(Claims, frozen=True, kw_only=True):
    """Claims that nobody vouches for; `package` and `image` are the host's own assertion."""

    image: str | None = None
    self_asserted: tuple[str, ...] = ("package", "image", "report_data")


def recognise(data: bytes) -> bool:
    """Whether the bytes begin like a document of kind `nil`."""
    return data.startswith(b'{"kind":"nil"')


def recognise_kvm(data: bytes) -> bool:
    """Whether the bytes begin like a document of kind `kvm`."""
    return data.startswith(b'{"kind":"kvm"')


def parse(data: bytes) -> NilEvidence:
    """Read a document; it must be in canonical form, at most 1024 bytes. Raises `MalformedEvidence`."""
    if len(data) > MAX_SIZE:
        raise MalformedEvidence(f"a nil document has at most {MAX_SIZE} bytes, not {len(data)}")
    document = read_json(data, Document, lambda why: MalformedEvidence(f"not a nil document: {why}"))
    if document.image is not None and document.kind == "nil":
        raise MalformedEvidence("a nil document has no image")
    # One meaning, one spelling: this also refuses duplicate keys, white space and escapes.
    if msgspec.json.encode(document) != data:
        raise MalformedEvidence("the nil document is not in canonical form")
    return NilEvidence(kind=document.kind, raw=data, document=document)


def verify(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> NilClaims:  # noqa: ARG001 — one shape for all kinds
    """Say what the document says. There is nothing to verify, and the one check that is made says so.

    Raises `InvalidArgument` for evidence of another kind.
    """
    if not isinstance(evidence, NilEvidence):
        raise InvalidArgument("nil.verify needs the evidence that nil.parse returns")
    document = evidence.document
    sheet = Sheet(RULES[document.kind])
    sheet.check(f"{document.kind}.unprotected", True, "a policy that names this kind", "no hardware protects this Keep")
    return NilClaims(
        kind=document.kind,
        hardware=False,
        status="Unprotected",
        evidence_sha256=evidence.sha256,
        report_data=document.report_data,
        package=document.package,
        image=document.image,
        checks=sheet.done(),
    )


def appraise(claims: Claims, policy: NilPolicy, sheet: Sheet) -> None:
    """Compare the asserted digests with the policy's. Raises `InvalidArgument` for claims of another kind."""
    if not isinstance(claims, NilClaims):
        raise InvalidArgument("nil.appraise needs the claims that nil.verify returns")
    if policy.any_workload:
        sheet.skip(f"{claims.kind}.package", "the policy accepts any workload", claims.package)
    else:
        sheet.check(
            f"{claims.kind}.package", claims.package in policy.packages, ", ".join(policy.packages), claims.package
        )
    if policy.images:
        sheet.check(f"{claims.kind}.image", claims.image in policy.images, ", ".join(policy.images), claims.image)
