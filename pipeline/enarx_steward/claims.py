"""What the Steward found, as it stands in the certificate: the claims extension.

The extension is `id-pe-cmw` (RATS Conceptual Messages Wrapper, draft-ietf-rats-msg-wrap), not critical. Its value is
the `json` choice: a UTF8String with a record of three members, of which the second is the claims' JSON in base64url
without padding::

    ["application/vnd.enarx-deploy.claims.v1+json", "eyJiYWNrZW5kIjoi…", 8]

8 is the wrapper's indicator for an attestation result. A registered identifier with short arcs is used because
readers that follow RFC 5280, appendix B, accept no arc of 2^28 or more: Go refuses the whole certificate for one, which
rules out the identifiers that anyone can make from a UUID.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Literal

import msgspec

from enarx_attestation import der
from enarx_attestation.der import DerError

from .encoding import element

OID: Final = "1.3.6.1.5.5.7.1.35"
"""id-pe-cmw."""
MEDIA_TYPE: Final = "application/vnd.enarx-deploy.claims.v1+json"
ATTESTATION_RESULT: Final = 8
MAX_SIZE: Final = 8192
"""Most bytes of the extension's value."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z", max_length=256)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]


class KeepClaims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claims, in the order in which they are written."""

    backend: Word
    """Kind of the Keep, such as `nil`."""
    hardware: bool
    """Whether a CPU vouches for anything that follows; if not, all of it is the Keep's own word."""
    status: Word
    """The vendor's word for the platform's patch level; `Unprotected` where there is no vendor."""
    package: Digest | None
    """The package that the Keep runs, where the evidence names it."""
    evidence_sha256: Sha256 | None
    """Digest of the evidence as received; None where there was none but the marking."""
    report_data: Hex | None
    """The bytes to which the evidence is bound."""
    nonce_bound: bool
    """Whether these bytes commit to a nonce of the Steward's, so that the evidence was fresh."""
    policy_sha256: Sha256
    """Digest of the policy file under which the evidence was accepted."""


class Malformed(ValueError):
    """The extension's value cannot be read as claims."""


_wrapper = msgspec.json.Decoder(tuple[str, str, Literal[8]])
_claims = msgspec.json.Decoder(KeepClaims)


def encode(claims: KeepClaims) -> bytes:
    """The value of the extension, in DER."""
    text = base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=").decode()
    return element(der.UTF8_STRING, msgspec.json.encode((MEDIA_TYPE, text, ATTESTATION_RESULT)))


def decode(value: bytes) -> KeepClaims:
    """Read the value of the extension. Raises `Malformed`; nothing but what `encode` writes is read."""
    if len(value) > MAX_SIZE:
        raise Malformed(f"the claims have at most {MAX_SIZE} bytes, not {len(value)}")
    try:
        media_type, text, _ = _wrapper.decode(der.whole(value, der.UTF8_STRING).content)
        if media_type != MEDIA_TYPE:
            raise Malformed(f"the claims are of the type {media_type!r}, not {MEDIA_TYPE}")
        claims = _claims.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (DerError, msgspec.MsgspecError, UnicodeDecodeError, binascii.Error) as exc:
        raise Malformed(f"the claims cannot be read: {exc}") from exc
    if encode(claims) != value:
        raise Malformed("the claims are not in the form in which a Steward writes them")
    return claims
