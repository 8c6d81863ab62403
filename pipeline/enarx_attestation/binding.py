"""What the 64 bytes of report data commit to.

A report that is not bound to a key can be shown by anyone; one that is not bound to the verifier's nonce can be shown
at any time; one that is not bound to a purpose can be shown to another verifier as something else.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Literal

from .errors import InvalidArgument
from .model import Binding, require

PURPOSE_TLS: Final = "tls-server"
"""The key is that of a TLS server."""

LABEL: Final = b"wasm-tee/att/v1"
NONCE_MIN: Final = 16
"""Fewest bytes of a nonce."""
FIELD_MAX: Final = 65_535
"""Most bytes of any one field."""
REPORT_DATA_SIZE: Final = 64

_PACKAGE = re.compile(r"sha256:[0-9a-f]{64}")
_LEGACY_HASH: Final = {"nil": "sha256", "kvm": "sha256", "sgx": "sha256", "tdx": "sha384", "snp": "sha384"}


def report_data(*, purpose: str, nonce: bytes, spki: bytes, package: str, audience: str) -> bytes:
    """The 64 bytes that a Keep asks its hardware to sign.

    SHA-512 over the label and the fields, in this order, nothing between them::

        "wasm-tee/att/v1"                                15 bytes of ASCII
        u32 big-endian length, purpose                   ASCII, e.g. "tls-server"
        u32 big-endian length, nonce                     16 bytes or more, of the verifier's choice
        u32 big-endian length, SubjectPublicKeyInfo      DER
        u32 big-endian length, package                   ASCII, "sha256:" and 64 lower-case hexadecimal digits
        u32 big-endian length, audience                  UTF-8, the verifier's name; may be empty

    Every field has its length before it, so that no two different lists of fields give the same bytes.
    Raises `InvalidArgument` if a field is outside these bounds.
    """
    require(purpose.isascii() and purpose.isprintable() and purpose != "", "purpose must be printable ASCII")
    require(len(nonce) >= NONCE_MIN, f"nonce has {len(nonce)} bytes; at least {NONCE_MIN} are needed")
    require(spki != b"", "the public key is empty")
    require(_PACKAGE.fullmatch(package) is not None, "package must be sha256: and 64 lower-case hexadecimal digits")
    digest = hashlib.sha512(LABEL)
    for field in (purpose.encode(), nonce, spki, package.encode(), audience.encode()):
        require(len(field) <= FIELD_MAX, f"a field of {len(field)} bytes is longer than {FIELD_MAX}")
        digest.update(len(field).to_bytes(4, "big") + field)
    return digest.digest()


def legacy_report_data(spki: bytes, kind: str) -> bytes:
    """Enarx's form: the hash of the DER public key (SHA-384 for SNP, SHA-256 for the others), zero-padded to 64 bytes.

    It commits to no nonce, package or purpose. Raises `InvalidArgument` for an unknown kind.
    """
    name = _LEGACY_HASH.get(kind)
    if name is None:
        raise InvalidArgument(f"no legacy binding is defined for {kind!r}")
    return hashlib.new(name, spki).digest().ljust(REPORT_DATA_SIZE, b"\0")


def expected_report_data(expected: Binding | bytes, kind: str) -> tuple[bytes, Literal["v1", "enarx", "exact"]]:
    """The report data that `expected` asks for, and the form in which it does so."""
    if isinstance(expected, bytes):
        require(1 <= len(expected) <= REPORT_DATA_SIZE, f"report data has {len(expected)} bytes, not 1 to 64")
        return expected, "exact"
    if expected.form == "enarx":
        return legacy_report_data(expected.spki, kind), "enarx"
    fields = {"purpose": expected.purpose, "package": expected.package, "audience": expected.audience}
    return report_data(nonce=expected.nonce, spki=expected.spki, **fields), "v1"
