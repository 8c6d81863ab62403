"""Private keys in files that only their owner can read, and the passphrases that open them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .errors import KeyFault
from .keys import MAX_PEM, Algorithm, PublicKey, SigningKey
from .pkcs8 import encrypted_pem

MAX_PASSPHRASE: Final = 1024
"""Bytes."""

_MAY_YOU: Final = "is there such a directory, and may you write there?"

Ask = Callable[[], bytes]
"""Called for a passphrase, where a key has one."""


def generate(path: Path, algorithm: Algorithm, passphrase: bytes | None) -> PublicKey:
    """Make a key in a new file, mode 0600; None leaves it unencrypted. Raises KeyFault, also if there is a file."""
    key = Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_private_key(SECP256R1())
    if passphrase is None:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = encrypted_pem(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), passphrase)
    write_new(path, pem)
    return PublicKey(key.public_key())


def load(path: Path, ask: Ask) -> SigningKey:
    """Read a key. `ask` is called if it is encrypted. Raises KeyFault."""
    pem = read_secret(path, MAX_PEM)
    passphrase = ask() if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem else None
    try:
        return SigningKey(load_pem_private_key(pem, passphrase))
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        if passphrase is not None:
            raise KeyFault(f"{path}: the passphrase does not open it", hint="is it the right one?") from exc
        raise KeyFault(f"{path}: not a private key in PKCS#8", hint="`enarx-deploy key generate` makes one") from exc


def passphrase_of_file(path: Path) -> bytes:
    """The passphrase in a file that nobody else can read, without its line end. Raises KeyFault."""
    return _checked(read_secret(path, MAX_PASSPHRASE + 1), str(path))


def passphrase_of_descriptor(descriptor: int) -> bytes:
    """The passphrase that an open descriptor gives, without its line end. Raises KeyFault."""
    try:
        with os.fdopen(descriptor, "rb") as file:
            return _checked(file.read(MAX_PASSPHRASE + 1), f"descriptor {descriptor}")
    except OSError as exc:
        raise KeyFault(
            f"descriptor {descriptor} cannot be read: {exc.strerror}", hint="such as --passphrase-fd 3 3<FILE"
        ) from exc


def _checked(found: bytes, shown: str) -> bytes:
    passphrase = found.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(passphrase) <= MAX_PASSPHRASE or b"\n" in passphrase:
        raise KeyFault(f"{shown}: a passphrase is one line of 1 to {MAX_PASSPHRASE} bytes")
    return passphrase


def read_secret(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes that only its owner can read. Raises KeyFault."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise KeyFault(f"{path}: others could read it", hint=f"chmod 600 {path}")
            data = file.read(limit + 1)
    except OSError as exc:
        raise KeyFault(f"{path}: {exc.strerror}", hint="is the path right, and may you read it?") from exc
    if len(data) > limit:
        raise KeyFault(f"{path}: larger than {limit:,} bytes")
    return data


def write_new(path: Path, data: bytes) -> None:
    """Write a secret to a file that is not there yet, mode 0600; no link is followed. Raises KeyFault."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as exc:
        raise KeyFault(f"{path}: there is a file, and it is never written over", hint="name another one") from exc
    except OSError as exc:
        raise KeyFault(f"{path}: {exc.strerror}", hint=_MAY_YOU) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        path.unlink(missing_ok=True)  # half of a key is none
        raise KeyFault(f"{path}: {exc.strerror}", hint="is there room on the disk?") from exc
