"""Evidence for the Keep's key, in answer to a challenge.

What evidence there is depends on the backend. Here is the kind `nil`: a document that says what hardware would vouch
for, and that none does.
"""

from __future__ import annotations

import hashlib
import json

from enarx_keep.errors import KeepFault

PURPOSE = b"tls-server"
_LABEL = b"wasm-tee/att/v1"

ENARX_EXTENSIONS = {"nil": ([1, 3, 6, 1, 4, 1, 58270, 1, 1], b"")}
"""By kind, the extension that Enarx's Steward looks for in the certificate request: its identifier and content."""


def report_data(*, nonce: bytes, public_key: bytes, package: str, audience: str) -> bytes:
    """The 64 bytes that evidence commits to; `enarx_attestation.report_data` is where they are specified."""
    digest = hashlib.sha512(_LABEL)
    for part in (PURPOSE, nonce, public_key, package.encode(), audience.encode()):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


def evidence(kind: str, package: str, data: bytes) -> bytes:
    """Evidence of this kind over `data` (64 bytes). Raises KeepFault for a kind that this Keep cannot produce."""
    if kind != "nil":
        raise KeepFault(f"this Keep cannot produce evidence of kind {kind!r}")
    document = {"kind": kind, "package": package, "report_data": data.hex()}
    return json.dumps(document, separators=(",", ":")).encode()
