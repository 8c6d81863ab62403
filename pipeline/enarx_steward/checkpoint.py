"""The end of the issuance log, signed: kept elsewhere, it shows that a log was cut off or written anew.

The authority's own key signs it, so that whoever pins the root can check it and no other key is to be known. What is
signed begins with text (`Head.message`), and a certificate with a SEQUENCE: neither can pass for the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from enarx_attestation.strangers import NOT_ISSUED, read_certificate

from .ca import Authority
from .decisions import Sha256
from .issuance_log import Head, Time, shown

MAX_SIZE: Final = 65_536
"""Most bytes of a signed head as JSON."""


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `/v1/log/head` answers."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    """Number of the last entry; 0 while there is none."""
    hash: Sha256
    time: Time
    """When it was signed."""
    signature: bytes
    """ECDSA with SHA-256, in DER."""
    chain: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=8)]
    """Certificates (DER) from that of the signer to the root."""

    @property
    def head(self) -> Head:
        """What is signed, beside the time."""
        return Head(self.seq, self.hash)


class NotSigned(Exception):
    """The head is not signed by an authority under the given root."""


_decoder = msgspec.json.Decoder(SignedHead)


def sign(authority: Authority, head: Head, now: datetime) -> SignedHead:
    """Sign the end of a log."""
    time = shown(now)
    return SignedHead(head.seq, head.hash, time, authority.sign(head.message(time)), authority.issuers)


def read(data: bytes, root_pem: bytes) -> SignedHead:
    """Read a signed head and check it under a root certificate (PEM), at no certain time. Raises `NotSigned`.

    1. The chain leads to that root, each certificate signed by the next and that of a certification authority.
    2. The head is signed by the key of the first.
    """
    if len(data) > MAX_SIZE:
        raise NotSigned(f"a signed head has at most {MAX_SIZE} bytes")
    try:
        signed = _decoder.decode(data)
        chain = [read_certificate(certificate) for certificate in signed.chain]
        root = x509.load_pem_x509_certificate(root_pem)
        for below, above in zip(chain, [*chain[1:], root], strict=True):
            below.verify_directly_issued_by(above)
        if chain[-1] != root or not all(map(_is_authority, chain)):
            raise NotSigned("the chain does not lead to the root")
        _check_signature(chain[0], signed)
    except (*NOT_ISSUED, msgspec.MsgspecError) as exc:
        raise NotSigned(f"not a head that an authority under this root signed: {exc or 'a wrong signature'}") from exc
    return signed


def _is_authority(certificate: x509.Certificate) -> bool:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def _check_signature(signer: x509.Certificate, signed: SignedHead) -> None:
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotSigned("the signer's key is not on an elliptic curve")
    key.verify(signed.signature, signed.head.message(signed.time), ec.ECDSA(SHA256()))
