"""Sign packages and what is said of them, and check who did: keys, DSSE envelopes, in-toto statements, trusted signers.

    key = load(Path("release.key"), ask)
    envelope = package_signature.sign(digest, {}, [key])
    signed = package_signature.verify(envelope, digest, parse(data), at)

No network and no clock. `verify` returns who signed, or raises.
"""

from __future__ import annotations

from . import dsse, package_signature, reference_values, statement
from .errors import KeyFault, MalformedEnvelope, RefusedSignature, SigningError, TrustFault
from .key_files import generate, load
from .keys import PublicKey, SigningKey
from .trust import Signer, Signers, parse

__all__ = [
    "KeyFault",
    "MalformedEnvelope",
    "PublicKey",
    "RefusedSignature",
    "Signer",
    "Signers",
    "SigningError",
    "SigningKey",
    "TrustFault",
    "dsse",
    "generate",
    "load",
    "package_signature",
    "parse",
    "reference_values",
    "statement",
]
