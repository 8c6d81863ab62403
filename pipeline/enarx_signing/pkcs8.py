"""Private keys encrypted with a passphrase: PKCS#8 with PBES2 (RFC 5958, RFC 8018), as OpenSSL reads it.

Written here because cryptography's own writer derives the key in 2,048 rounds, which one may guess through.
"""

from __future__ import annotations

import base64
import os
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7

ROUNDS: Final = 600_000
"""Of PBKDF2 with HMAC-SHA-256: OWASP's advice of 2023."""

_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256: Final = bytes.fromhex("300c06082a864886f70d02090500")
_AES256_CBC: Final = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04
_BLOCK: Final = 16  # bytes


def encrypted_pem(der: bytes, passphrase: bytes) -> bytes:
    """An `ENCRYPTED PRIVATE KEY` of a key in PKCS#8 (DER)."""
    salt, vector = os.urandom(_BLOCK), os.urandom(_BLOCK)
    key = PBKDF2HMAC(SHA256(), 32, salt, ROUNDS).derive(passphrase)
    padder = PKCS7(8 * _BLOCK).padder()
    encryptor = Cipher(AES256(key), CBC(vector)).encryptor()
    secret = encryptor.update(padder.update(der) + padder.finalize()) + encryptor.finalize()
    rounds = _tlv(_INTEGER, ROUNDS.to_bytes(3))
    derivation = _tlv(_SEQUENCE, _PBKDF2, _tlv(_SEQUENCE, _tlv(_OCTETS, salt), rounds, _HMAC_SHA256))
    scheme = _tlv(_SEQUENCE, _AES256_CBC, _tlv(_OCTETS, vector))
    algorithm = _tlv(_SEQUENCE, _PBES2, _tlv(_SEQUENCE, derivation, scheme))
    return _pem(_tlv(_SEQUENCE, algorithm, _tlv(_OCTETS, secret)))


def _tlv(tag: int, *parts: bytes) -> bytes:
    """A value of less than 64 KiB in DER."""
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82]) + size.to_bytes(2) if size > 0xFF else bytes([0x81, size])
    return bytes([tag]) + length + content


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, b"-----END ENCRYPTED PRIVATE KEY-----", b""])
