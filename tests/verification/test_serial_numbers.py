"""Certificates whose serial number is not positive (RFC 5280, 4.1.2.2), which the library reads with a warning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from enarx_attestation import der, der_encoding
from enarx_attestation.strangers import read_certificate
from enarx_deploy.errors import StewardError
from enarx_deploy.verification.certificate import Unreadable, read_leaf
from enarx_issuers import chain

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # RFC 5758, 3.2
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keep")])
NOW = datetime.now(UTC)
WHY = r"its serial number is not positive, as RFC 5280 \(4\.1\.2\.2\) demands"


def issued(*, authority: bool = False) -> x509.Certificate:
    """A certificate of serial number 5, signed by its own key."""
    return (
        x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 5, NOW - timedelta(hours=1), NOW + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
        .sign(KEY, SHA256())
    )


def of_serial(number: int) -> bytes:
    """The same with another serial number, which the library would not write."""
    tbs = issued().tbs_certificate_bytes.replace(b"\2\1\5", bytes([2, 1, number & 0xFF]), 1)
    signature = KEY.sign(tbs, ec.ECDSA(SHA256()))
    return der_encoding.sequence([tbs, ECDSA_SHA256, der_encoding.element(der.BIT_STRING, b"\0" + signature)])


def test_a_positive_one_is_read() -> None:
    assert read_certificate(of_serial(7)).serial_number == 7


@pytest.mark.parametrize("number", [0, -1, -128])
def test_any_other_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=WHY):
        read_certificate(of_serial(number))


@given(st.binary(max_size=40) | st.integers(0, 200).map(lambda size: of_serial(7)[:size]))
def test_what_is_no_certificate_is_refused_as_unreadable(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"error parsing|serial number"):
        read_certificate(data)


def test_a_service_that_shows_one_is_refused() -> None:
    with pytest.raises(Unreadable, match=WHY):
        read_leaf(of_serial(0))


def test_a_chain_that_an_issuer_sent_with_one_is_refused() -> None:
    root = issued(authority=True)
    request = x509.CertificateSigningRequestBuilder().subject_name(NAME).sign(KEY, SHA256())
    sent = [of_serial(0), root.public_bytes(Encoding.DER)]
    with pytest.raises(StewardError, match=WHY):
        chain.check(sent, request.public_bytes(Encoding.DER), root.public_bytes(Encoding.PEM).decode())
