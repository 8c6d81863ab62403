"""What the owner of an SNP guest signs, to the byte: AMD 56860 (SEV-SNP ABI), section 8.18 and chapter 10.

| structure  | bytes | fields                                                                                     |
|------------|-------|--------------------------------------------------------------------------------------------|
| ID block   | 96    | launch digest 48, family 16, image 16, version u32 = 1, guest SVN u32, guest policy u64    |
| public key | 1,028 | curve u32 = 2 (P-384), x 72, y 72, zeros                                                   |
| signature  | 512   | r 72, s 72, zeros                                                                          |
| ID auth    | 4,096 | algorithms u32 and u32 = 1 (P-384, SHA-384); at 64 the block's signature and the ID key;   |
|            |       | at 1,664 the ID key's signature and the author's key                                       |

All numbers are little-endian. Signatures are deterministic (RFC 6979), so that the same key signs the same bytes alike.
"""

from __future__ import annotations

import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from .errors import MeasurementFault

ID_BLOCK_SIZE: Final = 96
PUBLIC_KEY_SIZE: Final = 1028
SIGNATURE_SIZE: Final = 512
ID_AUTH_SIZE: Final = 4096
ID_KEY_SIGNATURE_SIZE: Final = SIGNATURE_SIZE + PUBLIC_KEY_SIZE
"""Bytes that `key sev sign` of Enarx writes: the ID key's signature, and the author's key that made it."""
DIGEST_SIZE: Final = 48

_P384: Final = 2
_ECDSA_P384_SHA384: Final = 1
_VERSION: Final = 1
_COORDINATE: Final = 72
_BLOCK_AT: Final = 64
_POLICY_AT: Final = 88  # of an ID block
AUTHOR_AT: Final = 1664
"""Where in the ID auth the author's part begins; zeros where there is no author."""


def id_block(
    measurement: bytes, *, policy: int, guest_svn: int = 0, family: bytes = bytes(16), image: bytes = bytes(16)
) -> bytes:
    """What the firmware compares the guest with before it starts. Raises MeasurementFault."""
    for name, value, size in (("measurement", measurement, DIGEST_SIZE), ("family", family, 16), ("image", image, 16)):
        if len(value) != size:
            raise MeasurementFault(f"the {name} of an ID block has {size} bytes, and not {len(value)}")
    if not 0 <= guest_svn < 1 << 32 or not 0 <= policy < 1 << 64:
        raise MeasurementFault("the guest SVN or the policy of an ID block is out of range")
    return measurement + family + image + struct.pack("<IIQ", _VERSION, guest_svn, policy)


def policy_of(block: bytes) -> int:
    """The guest policy that an ID block asks for."""
    return int.from_bytes(block[_POLICY_AT:ID_BLOCK_SIZE], "little")


def public_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """A key on P-384 in AMD's form."""
    numbers = key.public_numbers()
    return (_P384.to_bytes(4, "little") + _number(numbers.x) + _number(numbers.y)).ljust(PUBLIC_KEY_SIZE, b"\0")


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A signature in AMD's form."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA384(), deterministic_signing=True)))
    return (_number(r) + _number(s)).ljust(SIGNATURE_SIZE, b"\0")


def sign_id_key(author: ec.EllipticCurvePrivateKey, id_key: ec.EllipticCurvePublicKey) -> bytes:
    """The author's word for an ID key: its signature, and the author's key. The author is not needed afterwards."""
    return sign(author, public_key(id_key)) + public_key(author.public_key())


def id_auth(block: bytes, id_key: ec.EllipticCurvePrivateKey, id_key_signature: bytes | None) -> bytes:
    """What proves the ID block to the firmware. Without the author's word, AUTHOR_KEY_EN must be clear.

    Raises MeasurementFault for an ID block or a word of another size.
    """
    if len(block) != ID_BLOCK_SIZE:
        raise MeasurementFault(f"an ID block has {ID_BLOCK_SIZE} bytes, and not {len(block)}")
    word = bytes(ID_KEY_SIGNATURE_SIZE) if id_key_signature is None else id_key_signature
    if len(word) != ID_KEY_SIGNATURE_SIZE:
        raise MeasurementFault(
            f"an ID key's signature has {ID_KEY_SIGNATURE_SIZE:,} bytes, and not {len(word):,}",
            hint="`enarx-deploy key sev sign` writes one",
        )
    algorithms = struct.pack("<II", _ECDSA_P384_SHA384, _ECDSA_P384_SHA384)
    signed = sign(id_key, block) + public_key(id_key.public_key())
    return (algorithms.ljust(_BLOCK_AT, b"\0") + signed).ljust(AUTHOR_AT, b"\0") + word.ljust(
        ID_AUTH_SIZE - AUTHOR_AT, b"\0"
    )


def _number(value: int) -> bytes:
    return value.to_bytes(_COORDINATE, "little")
