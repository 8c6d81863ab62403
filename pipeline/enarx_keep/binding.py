"""What evidence commits to: the Keep's side of `enarx_attestation.binding`, where the layout is specified."""

from __future__ import annotations

import hashlib

PURPOSE = b"tls-server"
SECRETS_PURPOSE = b"secret-release"
_LABEL = b"wasm-tee/att/v1"


def report_data(*, nonce: bytes, public_key: bytes, package: str, audience: str, purpose: bytes = PURPOSE) -> bytes:
    """The 64 bytes of report data. `public_key` is a SubjectPublicKeyInfo in DER."""
    digest = hashlib.sha512(_LABEL)
    for part in (purpose, nonce, public_key, package.encode(), audience.encode()):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
