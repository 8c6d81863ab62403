"""The two kinds of keys that sign packages, and the names of keys.

| kind    | algorithm        | a signature is                        |
|---------|------------------|---------------------------------------|
| ed25519 | RFC 8032         | 64 bytes                              |
| p256    | ECDSA, SHA-256   | ASN.1 of two integers (RFC 3279, 2.2) |

A key's id is the SHA-256 of its SubjectPublicKeyInfo in lower-case hexadecimal. It names the key to people and in
lists; a verification looks the key up by it and then lets the signature decide.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey as P256PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from .errors import KeyFault

Algorithm = Literal["ed25519", "p256"]
MAX_PEM: Final = 16_384
"""Most bytes of a file with a key."""
_KINDS: Final = "keys are Ed25519 or on P-256: `enarx-deploy key generate` makes one"


class PublicKey:
    """A key that signatures are checked with. Two of the same id are equal."""

    def __init__(self, key: object) -> None:
        if isinstance(key, P256PublicKey) and isinstance(key.curve, SECP256R1):
            self.algorithm: Algorithm = "p256"
        elif isinstance(key, Ed25519PublicKey):
            self.algorithm = "ed25519"
        else:
            raise KeyFault(f"a key of the type {type(key).__name__} signs no packages", hint=_KINDS)
        self._key: P256PublicKey | Ed25519PublicKey = key
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.id: Final = hashlib.sha256(spki).hexdigest()

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read a `PUBLIC KEY`. Raises KeyFault."""
        if b"PRIVATE KEY-----" in pem:
            raise KeyFault("this is a private key, and a public one is wanted", hint="`enarx-deploy key show` gives it")
        try:
            return cls(load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise KeyFault("this is not a public key in PEM", hint=_KINDS) from exc

    @property
    def pem(self) -> str:
        """The SubjectPublicKeyInfo in PEM, as OpenSSL and cosign read it."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature over the message."""
        try:
            if isinstance(self._key, P256PublicKey):
                self._key.verify(signature, message, ECDSA(SHA256()))
            else:
                self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class SigningKey:
    """A private key, in memory or in a token. Raises KeyFault if it is of another kind, or its token cannot be used."""

    def __init__(self, key: object) -> None:
        if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
            raise KeyFault(f"a key of the type {type(key).__name__} signs no packages", hint=_KINDS)
        self._key: EllipticCurvePrivateKey | Ed25519PrivateKey = key
        self.public: Final = PublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """A signature over the message."""
        if isinstance(self._key, EllipticCurvePrivateKey):
            return self._key.sign(message, ECDSA(SHA256()))
        return self._key.sign(message)
