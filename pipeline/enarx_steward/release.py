"""How a secret travels to a Keep: sealed to a key that the Keep's evidence commits to, and signed by the Steward.

The key is an X25519 key, made for this one release. Evidence commits to it as to the key of a certificate, with the
purpose `secret-release` (`enarx_attestation.binding`). A secret is sealed by HPKE (RFC 9180): base mode, DHKEM(X25519,
HKDF-SHA256), HKDF-SHA256, AES-256-GCM, no associated data; the encapsulated key comes first. Whoever stands between
Steward and Keep can seal something of their own to the same key, so the Keep believes what is signed by the key that
signed its certificate.

`info` of HPKE and what is signed are a label and fields, each behind its length (u32 big-endian), nothing between::

    info    "wasm-tee/secret/v1"   audience, package, nonce, name
    signed  "wasm-tee/release/v1"  audience, package, nonce, SubjectPublicKeyInfo, then name and sealed secret of each
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from . import state
from .appraisal import Appraisal
from .errors import ConfigurationError, MalformedRequest, SecretUnreadable
from .grants import MAX_SECRET

PURPOSE: Final = "secret-release"
"""Of the evidence: it is good for no certificate, and evidence for a certificate releases nothing."""

_INFO: Final = b"wasm-tee/secret/v1"
_SIGNED: Final = b"wasm-tee/release/v1"


class SealedSecret(msgspec.Struct, frozen=True):
    """A secret that one Keep can open, once."""

    name: str
    sealed: bytes


class Released(msgspec.Struct, frozen=True):
    """Sealed secrets in the order in which they were asked for, the Steward's signature, and why they are released."""

    secrets: tuple[SealedSecret, ...]
    signature: bytes
    """ECDSA with SHA-256, in DER."""
    appraisal: Appraisal


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a release is for: the key, and all that the evidence committed to beside it."""

    key: X25519PublicKey
    audience: str
    package: str
    nonce: bytes

    def seal(self, name: str, secret: bytes) -> SealedSecret:
        """Seal a secret under its name."""
        info = _fields(_INFO, (self.audience.encode(), self.package.encode(), self.nonce, name.encode()))
        return SealedSecret(name, _SUITE.encrypt(secret, self.key, info))

    def message(self, secrets: Sequence[SealedSecret]) -> bytes:
        """What the Steward signs."""
        spki = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        each = [field for one in secrets for field in (one.name.encode(), one.sealed)]
        return _fields(_SIGNED, (self.audience.encode(), self.package.encode(), self.nonce, spki, *each))


def read_key(spki: bytes) -> X25519PublicKey:
    """The key of a request (SubjectPublicKeyInfo, DER). Raises `MalformedRequest`."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise MalformedRequest("the key that secrets are to be sealed to cannot be read") from exc
    if not isinstance(key, X25519PublicKey):
        raise MalformedRequest("secrets are sealed to an X25519 key, and this is of another kind")
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise MalformedRequest("the key that secrets are to be sealed to is not in DER")
    try:
        X25519PrivateKey.generate().exchange(key)
    except ValueError as exc:  # a point of small order: what it agrees on is known to everybody (RFC 7748, section 6.1)
        raise MalformedRequest("nothing can be sealed to this key") from exc
    return key


def read_files(files: Mapping[str, Path]) -> dict[str, bytes]:
    """The secrets as their files hold them now, by name. Raises `SecretUnreadable`."""
    return {name: _read(name, path) for name, path in files.items()}


def _read(name: str, path: Path) -> bytes:
    try:
        secret = state.read_secret(path, MAX_SECRET + 1)
    except ConfigurationError as exc:
        raise SecretUnreadable(name, str(exc)) from exc
    if len(secret) > MAX_SECRET:
        raise SecretUnreadable(name, f"{path} has more than {MAX_SECRET:,} bytes")
    return secret


def _fields(label: bytes, fields: Sequence[bytes]) -> bytes:
    return label + b"".join(len(field).to_bytes(4, "big") + field for field in fields)


_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
