"""Private keys of those who sign what hardware measures, in PEM files that only their owner can read.

| key | algorithm                  | file                 | digest                                             |
|-----|----------------------------|----------------------|----------------------------------------------------|
| SEV | ECDSA, P-384, SHA-384      | PKCS#8               | SHA-384 of AMD's structure of the public key       |
| SGX | RSA, 3072 bits, exponent 3 | PKCS#1 (or PKCS#8)   | SHA-256 of the modulus, little-endian (MRSIGNER)   |

The digests are what reports and quotes name: ID_KEY_DIGEST and AUTHOR_KEY_DIGEST (AMD 56860, table 23), and MRSIGNER
(Intel SDM volume 3D, section 38.4.1).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from enarx_signing import KeyFault
from enarx_signing.key_files import read_secret

from .errors import MeasurementFault
from .snp_structures import public_key

SevKey = ec.EllipticCurvePrivateKey
SgxKey = rsa.RSAPrivateKey
Key = TypeVar("Key", SevKey, SgxKey)

SGX_BITS: Final = 3072
SGX_EXPONENT: Final = 3
_LIMIT: Final = 16_384
"""Most bytes of a file with a key."""


def create_sev() -> bytes:
    """A new key for ID blocks, in PEM."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_sgx() -> bytes:
    """A new key for enclaves, in PEM. It takes some seconds."""
    key = rsa.generate_private_key(SGX_EXPONENT, SGX_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def load_sev(path: Path) -> SevKey:
    """Read a key for ID blocks. Raises MeasurementFault."""
    key = _load(path)
    if not isinstance(key, SevKey) or not isinstance(key.curve, ec.SECP384R1):
        raise MeasurementFault(f"{path}: not a key on P-384", hint="`enarx-deploy key sev create --out FILE` makes one")
    return key


def load_sgx(path: Path) -> SgxKey:
    """Read a key for enclaves. Raises MeasurementFault."""
    key = _load(path)
    if not isinstance(key, SgxKey) or key.key_size != SGX_BITS or key.public_key().public_numbers().e != SGX_EXPONENT:
        raise MeasurementFault(
            f"{path}: not an RSA key of {SGX_BITS} bits with the exponent {SGX_EXPONENT}",
            hint="`enarx-deploy key sgx create --out FILE` makes one",
        )
    return key


def sev_digest(key: SevKey) -> str:
    """48 bytes in hexadecimal, as `id_keys` and `author_keys` of a policy name the key."""
    return hashlib.sha384(public_key(key.public_key())).hexdigest()


def sgx_digest(key: SgxKey) -> str:
    """32 bytes in hexadecimal, as `mrsigners` of a policy names the key."""
    modulus = key.public_key().public_numbers().n
    return hashlib.sha256(modulus.to_bytes(SGX_BITS // 8, "little")).hexdigest()


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(read_secret(path, _LIMIT), None)
    except KeyFault as error:
        raise MeasurementFault(str(error), hint=error.hint) from error
    except TypeError as error:
        raise MeasurementFault(
            f"{path}: encrypted keys are not read", hint="decrypt it into a file of yours"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MeasurementFault(f"{path}: not a private key in PEM", hint="is it the right file?") from error
