"""What others may use of the room, and nothing more by accident."""

from __future__ import annotations

import enarx_signing


def test_the_public_names() -> None:
    assert enarx_signing.__all__ == sorted(enarx_signing.__all__)
    assert set(enarx_signing.__all__) == {
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
    }
    assert all(hasattr(enarx_signing, name) for name in enarx_signing.__all__)
