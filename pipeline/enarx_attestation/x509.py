"""Certificates and revocation lists (RFC 5280), as far as attestation needs them.

General path validation does not fit: AMD's and Intel's endorsement keys break the profiles that libraries enforce.
Here a certificate is read into its exact bytes, and each vendor's rules are written out where they are applied.
The algorithm of a signature is always the vendor's, given by the caller; a certificate cannot choose it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from . import der
from .der import DerError, Element
from .errors import MalformedCollateral

MAX_CERTIFICATE: Final = 16_384
"""Most bytes of one certificate."""
MAX_CRL: Final = 4 << 20
"""Most bytes of one revocation list."""
MAX_CHAIN: Final = 8
"""Most certificates of one PEM bundle."""

BASIC_CONSTRAINTS: Final = der.oid("2.5.29.19")
KEY_USAGE: Final = der.oid("2.5.29.15")
_CRL_NUMBER: Final = der.oid("2.5.29.20")
_UNDERSTOOD: Final = {BASIC_CONSTRAINTS, KEY_USAGE}

_ORGANISATION: Final = der.oid("2.5.4.10")
_COMMON_NAME: Final = der.oid("2.5.4.3")

Algorithm = Literal["ecdsa-sha256", "ecdsa-sha384", "rsa-pss-sha384"]

_PEM = re.compile(rb"[ \t\r\n]*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
_PEM_CRL = re.compile(rb"\s*-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----\s*")
_BLANK: Final = b" \t\r\n\0"  # a quote's chain ends with a NUL

_ECDSA: Final[dict[bytes, Algorithm]] = {
    # RFC 5758, section 3.2: the parameters are absent.
    b"\x30\x0a\x06\x08" + der.oid("1.2.840.10045.4.3.2"): "ecdsa-sha256",
    b"\x30\x0a\x06\x08" + der.oid("1.2.840.10045.4.3.3"): "ecdsa-sha384",
}
_RSA_PSS: Final = der.oid("1.2.840.113549.1.1.10")
_MGF1: Final = der.oid("1.2.840.113549.1.1.8")
_SHA384: Final = der.oid("2.16.840.1.101.3.4.2.2")
_PSS_SALT: Final = 48

_HASHES: Final[dict[Algorithm, type[HashAlgorithm]]] = {
    "ecdsa-sha256": SHA256,
    "ecdsa-sha384": SHA384,
    "rsa-pss-sha384": SHA384,
}

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Extension(msgspec.Struct, frozen=True):
    """An extension's value, and whether it must be understood."""

    critical: bool
    value: bytes


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was read; nothing about it is verified. Names and keys are the DER as it stands."""

    raw: bytes
    tbs: bytes
    serial: int
    algorithm: Algorithm | None
    """None if the algorithm is not one of those that attestation uses."""
    issuer: bytes
    subject: bytes
    common_name: str
    """Of the subject; empty if there is none, or more than one."""
    organisation: str
    not_before: datetime
    not_after: datetime
    spki: bytes
    extensions: Mapping[bytes, Extension]
    """By the content bytes of the OBJECT IDENTIFIER."""
    signature: bytes

    @property
    def unknown_critical(self) -> bool:
        """Whether an extension must be understood and is not."""
        return any(extension.critical and id not in _UNDERSTOOD for id, extension in self.extensions.items())

    def may_sign(self, bit: int = 5) -> bool:
        """Whether key usage, where present, has `bit` (RFC 5280, 4.2.1.3: 5 signs certificates, 6 signs CRLs)."""
        usage = self.extensions.get(KEY_USAGE)
        if usage is None:
            return True
        try:
            content = der.whole(usage.value, der.BIT_STRING).content
        except DerError:
            return False
        return len(content) > 1 + bit // 8 and bool(content[1 + bit // 8] & 0x80 >> bit % 8)

    @property
    def is_authority(self) -> bool:
        """Whether basic constraints are present and say that this is an authority."""
        constraints = self.extensions.get(BASIC_CONSTRAINTS)
        if constraints is None:
            return False
        try:
            first = next(iter(der.children(der.whole(constraints.value, der.SEQUENCE))), None)
            return first is not None and first.tag == der.BOOLEAN and der.boolean(first)
        except DerError:
            return False


class RevocationList(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation list that was read; nothing about it is verified."""

    tbs: bytes
    algorithm: Algorithm | None
    issuer: bytes
    this_update: datetime
    next_update: datetime
    number: int | None
    """CRL number (RFC 5280, 5.2.3), which grows with each list of an issuer's."""
    serials: frozenset[int]
    unknown_critical: bool
    signature: bytes

    def current_at(self, at: datetime) -> bool:
        """Whether `at` is within the window, bounds included."""
        return self.this_update <= at <= self.next_update


def read_certificate(data: bytes) -> Certificate:
    """Read one DER certificate, all of `data`. Raises `MalformedCollateral`."""
    if len(data) > MAX_CERTIFICATE:
        raise MalformedCollateral(f"a certificate has at most {MAX_CERTIFICATE} bytes, not {len(data)}")
    try:
        return _certificate(data)
    except DerError as exc:
        raise MalformedCollateral(f"not a certificate: {exc}") from exc


def read_pem(data: bytes, known: Iterable[Certificate] = ()) -> list[Certificate]:
    """Read the certificates of a PEM bundle, in its order. Raises `MalformedCollateral` if there are none.

    Nothing but white space may stand around them: a bundle with something else in it was damaged, or is not the
    vendor's. Certificates that are in `known`, byte for byte, are not read again.
    """
    if len(data) > 2 * MAX_CHAIN * MAX_CERTIFICATE:
        raise MalformedCollateral("the PEM bundle is too long")
    blocks, end = [], 0
    while (found := _PEM.match(data, end)) is not None:
        blocks.append(found[1])
        end = found.end()
    if not 1 <= len(blocks) <= MAX_CHAIN or data[end:].strip(_BLANK):
        raise MalformedCollateral(f"expected 1 to {MAX_CHAIN} certificates in PEM, and nothing else")
    already = {certificate.raw: certificate for certificate in known}
    try:
        ders = [base64.b64decode(b"".join(block.split()), validate=True) for block in blocks]
    except binascii.Error as exc:
        raise MalformedCollateral(f"not PEM: {exc}") from exc
    return [already.get(found) or read_certificate(found) for found in ders]


def is_pem(data: bytes) -> bool:
    """Whether this is text, where DER begins with a byte that no text begins with."""
    return data.lstrip().startswith(b"-----BEGIN ")


def read_crl(data: bytes) -> RevocationList:
    """Read one revocation list, DER or PEM, all of `data`. Raises `MalformedCollateral`."""
    data = crl_der(data)
    if len(data) > MAX_CRL:
        raise MalformedCollateral(f"a revocation list has at most {MAX_CRL} bytes, not {len(data)}")
    try:
        return _revocation_list(data)
    except DerError as exc:
        raise MalformedCollateral(f"not a revocation list: {exc}") from exc


def crl_der(data: bytes) -> bytes:
    """A revocation list as DER, of DER or PEM; what it holds is not looked at. Raises `MalformedCollateral`."""
    if not is_pem(data):
        return data
    block = _PEM_CRL.fullmatch(data) if len(data) <= 2 * MAX_CRL else None
    if block is None:
        raise MalformedCollateral("expected one revocation list in PEM, and nothing else")
    try:
        return base64.b64decode(b"".join(block[1].split()), validate=True)
    except binascii.Error as exc:
        raise MalformedCollateral(f"not PEM: {exc}") from exc


def public_key(certificate: Certificate) -> PublicKey | None:
    """The certificate's key, or None if it is of a kind that attestation does not use."""
    try:
        key = load_der_public_key(certificate.spki)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) else None


def signed_by(child: Certificate | RevocationList, key: PublicKey | None, algorithm: Algorithm) -> bool:
    """Whether `child` carries a signature by `key`, made with exactly this algorithm."""
    return child.algorithm == algorithm and signature_valid(key, algorithm, child.signature, child.tbs)


def signature_valid(key: PublicKey | None, algorithm: Algorithm, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is one over `message` by `key`; ECDSA signatures in DER."""
    hashed = _HASHES[algorithm]()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm.startswith("ecdsa"):
            key.verify(signature, message, ec.ECDSA(hashed))
            return True
        if isinstance(key, rsa.RSAPublicKey) and algorithm == "rsa-pss-sha384":
            key.verify(signature, message, padding.PSS(padding.MGF1(SHA384()), _PSS_SALT), hashed)
            return True
    except InvalidSignature:
        return False
    return False


def _certificate(data: bytes) -> Certificate:
    outer = der.whole(data, der.SEQUENCE)
    tbs, algorithm, signature = der.fields(outer, der.SEQUENCE, der.SEQUENCE, der.BIT_STRING)
    parts = der.children(tbs)
    if len(parts) != 8 or [part.tag for part in parts] != [0xA0, 0x02, 0x30, 0x30, 0x30, 0x30, 0x30, 0xA3]:
        raise DerError("expected a version 3 certificate with extensions and no unique identifiers")
    version, serial, inner, issuer, validity, subject, spki, extensions = parts
    if der.integer(der.only(version, der.INTEGER)) != 2 or inner.raw != algorithm.raw:
        raise DerError("version is not 3, or the two signature algorithms differ")
    not_before, not_after = der.fields(validity, None, None)
    common_name, organisation = _names(subject)
    return Certificate(
        raw=data,
        tbs=tbs.raw,
        serial=der.integer(serial),
        algorithm=_algorithm(algorithm),
        issuer=issuer.raw,
        subject=subject.raw,
        common_name=common_name,
        organisation=organisation,
        not_before=der.time(not_before),
        not_after=der.time(not_after),
        spki=spki.raw,
        extensions=_extensions(der.only(extensions, der.SEQUENCE)),
        signature=der.bit_string(signature),
    )


def _names(dn: Element) -> tuple[str, str]:
    """Common name and organisation of a distinguished name."""
    common_names, organisations = [], []
    for rdn in der.children(dn):
        for kind, value in der.pairs(rdn):
            if kind == _COMMON_NAME:
                common_names.append(der.text(value))
            elif kind == _ORGANISATION:
                organisations.append(der.text(value))
    return _only(common_names), _only(organisations)


def _only(values: list[str]) -> str:
    return values[0] if len(values) == 1 else ""


def _revocation_list(data: bytes) -> RevocationList:
    outer = der.whole(data, der.SEQUENCE)
    tbs, algorithm, signature = der.fields(outer, der.SEQUENCE, der.SEQUENCE, der.BIT_STRING)
    parts = der.children(tbs)
    if len(parts) < 6 or [part.tag for part in parts[:3]] != [der.INTEGER, der.SEQUENCE, der.SEQUENCE]:
        raise DerError("expected a version 2 revocation list with extensions")
    version, inner, issuer, this_update, next_update, *rest = parts
    if der.integer(version) != 1 or inner.raw != algorithm.raw or rest[-1].tag != 0xA0:
        raise DerError("version is not 2, the two signature algorithms differ, or extensions are missing")
    if [part.tag for part in rest[:-1]] not in ([], [der.SEQUENCE]):
        raise DerError("unexpected fields")
    entries = [_entry(entry) for part in rest[:-1] for entry in der.children(part)]
    extensions = _extensions(der.only(rest[-1], der.SEQUENCE))
    number = extensions.get(_CRL_NUMBER)
    return RevocationList(
        tbs=tbs.raw,
        algorithm=_algorithm(algorithm),
        issuer=issuer.raw,
        this_update=der.time(this_update),
        next_update=der.time(next_update),
        number=None if number is None else der.integer(der.whole(number.value, der.INTEGER)),
        serials=frozenset(serial for serial, _ in entries),
        # An entry's critical extension may say that it speaks of another issuer's certificate.
        unknown_critical=_any_critical(extensions.values()) or any(critical for _, critical in entries),
        signature=der.bit_string(signature),
    )


def _entry(entry: Element) -> tuple[int, bool]:
    """Serial number of a revoked certificate, and whether the entry has a critical extension."""
    parts = der.children(entry)
    if entry.tag != der.SEQUENCE or len(parts) not in {2, 3}:
        raise DerError("expected an entry of a revocation list")
    der.time(parts[1])
    critical = len(parts) == 3 and _any_critical(_extensions(parts[2]).values())
    return der.integer(parts[0]), critical


def _any_critical(extensions: Iterable[Extension]) -> bool:
    return any(extension.critical for extension in extensions)


def _extensions(parent: Element) -> dict[bytes, Extension]:
    found: dict[bytes, Extension] = {}
    if parent.tag != der.SEQUENCE:
        raise DerError("expected extensions")
    for item in der.children(parent):
        parts = der.children(item)
        if len(parts) not in {2, 3} or parts[0].tag != der.OID or item.tag != der.SEQUENCE:
            raise DerError("expected an extension")
        critical = len(parts) == 3 and der.boolean(parts[1])
        if parts[0].content in found:
            raise DerError("an extension is given twice")
        found[parts[0].content] = Extension(critical, der.octets(parts[-1]))
    return found


def _algorithm(found: Element) -> Algorithm | None:
    raw = found.raw
    if raw in _ECDSA:
        return _ECDSA[raw]
    parts = der.children(found)
    if len(parts) == 2 and parts[0].content == _RSA_PSS and _pss_is_sha384(parts[1]):
        return "rsa-pss-sha384"
    return None


def _pss_is_sha384(parameters: Element) -> bool:
    """Whether RSASSA-PSS parameters (RFC 4055, 3.1) are SHA-384, MGF1 with SHA-384, salt 48, trailer 1."""
    given = {part.tag: part for part in der.children(parameters)}
    if not {0xA0, 0xA1, 0xA2} <= given.keys() <= {0xA0, 0xA1, 0xA2, 0xA3}:
        return False
    mask = der.children(der.only(given[0xA1], der.SEQUENCE))
    return (
        _is_sha384(der.only(given[0xA0], der.SEQUENCE))
        and len(mask) == 2
        and mask[0].content == _MGF1
        and _is_sha384(mask[1])
        and der.integer(der.only(given[0xA2], der.INTEGER)) == _PSS_SALT
        # AMD writes the trailer's default value out in its older certificates.
        and (0xA3 not in given or der.integer(der.only(given[0xA3], der.INTEGER)) == 1)
    )


def _is_sha384(found: Element) -> bool:
    first = next(iter(der.children(found)), None)
    return first is not None and first.content == _SHA384
