"""SIGSTRUCT, by which an enclave's owner signs it: Intel SDM volume 3D, section 38.13. 1,808 bytes, little-endian.

| at    | bytes | field                                     |
|-------|-------|-------------------------------------------|
| 0     | 128   | header: constants, vendor, date, SWDEFINED |
| 128   | 772   | modulus 384, exponent u32 = 3, signature 384 |
| 900   | 128   | body: what is asked of the enclave (`Body`)  |
| 1,040 | 768   | Q1, Q2: by which the CPU checks the signature without a division |

Header and body are signed: RSA, PKCS#1 v1.5, SHA-256.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from .errors import MeasurementFault

SIZE: Final = 1808
BODY_SIZE: Final = 128
_RSA: Final = 384
_HEADER: Final = bytes.fromhex("06000000e10000000000010000000000")
_HEADER_2: Final = bytes.fromhex("01010000600000006000000001000000")
_BODY_AT: Final = 900
_DEBUG: Final = 1 << 1
_FORM = struct.Struct("<IIBB2x16s16s16s32s16x16sHH")


class Body(NamedTuple):
    """What an enclave must be; a mask says which bits of the field before it are compared."""

    misc_select: int
    misc_mask: int
    cet_attributes: int
    cet_mask: int
    family_id: bytes
    attributes: bytes
    attribute_mask: bytes
    mrenclave: bytes
    ext_product_id: bytes
    product_id: int
    svn: int

    @property
    def debug(self) -> bool:
        """Whether the enclave may be one that its host can look into."""
        return bool(self.attributes[0] & _DEBUG or not self.attribute_mask[0] & _DEBUG)

    def encode(self) -> bytes:
        """128 bytes."""
        return _FORM.pack(*self)


class Sigstruct(NamedTuple):
    """One that was read, and whose signature was checked."""

    body: Body
    modulus: int


def body(data: bytes) -> Body:
    """Read a body. Raises MeasurementFault."""
    if len(data) != BODY_SIZE:
        raise MeasurementFault(f"the body of a SIGSTRUCT has {BODY_SIZE} bytes, and not {len(data)}")
    found = Body(*_FORM.unpack(data))
    if found.encode() != data:
        raise MeasurementFault("a SIGSTRUCT has bits where zeros are reserved")
    return found


def sign(found: Body, key: rsa.RSAPrivateKey, *, date: int = 0, sw_defined: int = 0) -> bytes:
    """Sign what is asked of an enclave. `date` is 0xYYYYMMDD; 0, as Enarx has it, keeps the bytes reproducible."""
    data = found.encode()
    header = _HEADER + struct.pack("<II", 0, date) + _HEADER_2 + sw_defined.to_bytes(4, "little")
    header = header.ljust(128, b"\0")
    numbers = key.public_key().public_numbers()
    signature = int.from_bytes(key.sign(header + data, padding.PKCS1v15(), SHA256()), "big")
    signed = _number(numbers.n) + numbers.e.to_bytes(4, "little") + _number(signature)
    first, rest = divmod(signature * signature, numbers.n)
    second = signature * rest // numbers.n
    return (header + signed + data).ljust(1040, b"\0") + _number(first) + _number(second)


def read(data: bytes) -> Sigstruct:
    """Read one and check its signature. Raises MeasurementFault."""
    if len(data) != SIZE or data[:16] != _HEADER or data[24:40] != _HEADER_2:
        raise MeasurementFault("not a SIGSTRUCT", hint=f"it has {SIZE:,} bytes, and begins with its header")
    modulus = int.from_bytes(data[128 : 128 + _RSA], "little")
    signature = data[516 : 516 + _RSA][::-1]
    try:
        key = rsa.RSAPublicNumbers(int.from_bytes(data[512:516], "little"), modulus).public_key()
        key.verify(signature, data[:128] + data[_BODY_AT : _BODY_AT + BODY_SIZE], padding.PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature) as error:
        raise MeasurementFault("the signature of this SIGSTRUCT is not that of its key") from error
    return Sigstruct(body(data[_BODY_AT : _BODY_AT + BODY_SIZE]), modulus)


def _number(value: int) -> bytes:
    return value.to_bytes(_RSA, "little")
