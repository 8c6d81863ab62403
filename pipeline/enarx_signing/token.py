"""A key in a PKCS#11 token (a hardware security module, a smart card): it signs there and never leaves it.

The vendor's library runs in a process of its own for each signature, `pkcs11_signer`: what it does to memory, threads
and forks is not ours, and one that hangs is given up.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
    load_der_public_key,
)

from .errors import KeyFault
from .pkcs11_signer import Answer, Order

SIGN_SECONDS: Final = 30
MAX_PIN: Final = 255
_COORDINATE: Final = 32
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a key is."""

    module: Name
    token: Name
    key: Name
    pin_file: str = ""
    pin_env: str = ""


class TokenKey(ec.EllipticCurvePrivateKey):
    """A key on P-256 in a token, for cryptography's builders of certificates, which ask for no more than a signature.

    `sign` and `public_key` raise `KeyFault` if the token cannot be used.
    """

    def __init__(self, token: Token) -> None:
        self._token = token

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256, which is what signatures are checked with."""
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        """Bits."""
        return self.curve.key_size

    def make(self, *, anew: bool = False) -> None:
        """Make the key, unless there is one of its name; `anew` refuses that one. Raises `KeyFault`."""
        self._ask(make=True, anew=anew)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Read the public half. Raises `KeyFault`."""
        key = load_der_public_key(self._ask().spki)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyFault(f"the key {self._token.key!r} in the token is not on P-256")
        return key

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """Sign with ECDSA and SHA-256. Raises `KeyFault`."""
        if not isinstance(signature_algorithm.algorithm, SHA256):
            raise KeyFault("a key in a token signs with SHA-256 alone")
        raw = self._ask(digest=hashlib.sha256(data).digest()).signature
        if len(raw) != 2 * _COORDINATE:
            raise KeyFault(f"the token's signature has {len(raw)} bytes, and one on P-256 has 64")
        return encode_dss_signature(int.from_bytes(raw[:_COORDINATE]), int.from_bytes(raw[_COORDINATE:]))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Not what it is for."""
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        """It does not leave the token."""
        raise NotImplementedError

    def private_bytes(
        self, encoding: Encoding, format: PrivateFormat, encryption_algorithm: KeySerializationEncryption
    ) -> NoReturn:
        """It does not leave the token."""
        raise NotImplementedError

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self

    def _ask(self, *, digest: bytes = b"", make: bool = False, anew: bool = False) -> Answer:
        token = self._token
        order = Order(
            module=token.module,
            token=token.token,
            key=token.key,
            pin=_pin(token),
            digest=digest,
            make=make,
            anew=anew,
        )
        answer = _run(order, without=token.pin_env)
        if answer.fault:
            raise KeyFault(f"{token.module}: {answer.fault}", hint=answer.hint)
        return answer


def _run(order: Order, *, without: str) -> Answer:
    """Without the variable that has the PIN: the vendor's library gets it once, where it asks for it."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "enarx_signing.pkcs11_signer"],
            input=msgspec.json.encode(order),
            capture_output=True,
            timeout=SIGN_SECONDS,
            env={name: value for name, value in os.environ.items() if name != without},
            start_new_session=True,
            check=False,
        )
        return msgspec.json.decode(done.stdout, type=Answer)
    except subprocess.TimeoutExpired as exc:
        raise KeyFault(f"{order.module}: the token does not answer within {SIGN_SECONDS} seconds") from exc
    except msgspec.MsgspecError as exc:
        raise KeyFault(
            f"{order.module}: the library ended the process that used it (status {done.returncode})",
            hint="is it the right one for this machine?",
        ) from exc


def _pin(token: Token) -> str:
    if token.pin_env:
        pin = os.environ.get(token.pin_env, "")
        if not pin:
            raise KeyFault(
                f"the environment variable {token.pin_env}, which is to have the token's PIN, is not set",
                hint="a process in the background is not given it: use a file",
            )
        return pin
    path = Path(token.pin_file)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXO | stat.S_IRWXG):
                raise KeyFault(f"{path}: others could read the PIN", hint=f"chmod 600 {path}")
            pin = file.read(MAX_PIN + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise KeyFault(f"{path}: the PIN cannot be read: {exc}") from exc
    if not 0 < len(pin) <= MAX_PIN:
        raise KeyFault(f"{path}: a PIN has 1 to {MAX_PIN} characters")
    return pin
