"""What is read as a certificate request, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enarx_attestation import der
from enarx_attestation.der_encoding import element, sequence
from enarx_steward import csr
from enarx_steward.errors import MalformedRequest

VECTORS = Path(__file__).parent.parent / "attestation" / "vectors"


def signed_with(key, hash_) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hash_).public_bytes(Encoding.DER)


def test_a_good_request(keep):
    request = csr.read(keep.request())
    assert request.spki == keep.spki
    assert request.marking == csr.Marking("nil", b"")
    assert csr.read(keep.request(marking=None)).marking is None


def test_a_request_of_a_real_sgx_keep_of_enarx():
    request = csr.read((VECTORS / "sgx" / "enarx-xeon-icelake-outofdate" / "request.csr.der").read_bytes())
    assert request.marking is not None
    assert (request.marking.kind, request.key.curve.name) == ("sgx", "secp256r1")


def test_no_bit_of_a_request_can_be_changed(keep):
    good = keep.request()
    for position in range(len(good) * 8):
        changed = bytearray(good)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(MalformedRequest):
            csr.read(bytes(changed))


def test_no_request_can_be_cut_or_lengthened(keep):
    good = keep.request()
    for length in range(len(good)):
        with pytest.raises(MalformedRequest):
            csr.read(good[:length])
    with pytest.raises(MalformedRequest):
        csr.read(good + b"\0")


@pytest.mark.parametrize(
    ("key", "hash_"),
    [
        (rsa.generate_private_key(65537, 2048), SHA384()),
        (ed25519.Ed25519PrivateKey.generate(), None),
        (ec.generate_private_key(ec.SECP521R1()), SHA512()),
        (ec.generate_private_key(ec.SECP256K1()), SHA384()),
        (ec.generate_private_key(ec.SECP256R1()), SHA512()),
    ],
    ids=["rsa", "ed25519", "p521", "secp256k1", "p256-with-sha512"],
)
def test_other_keys_and_algorithms_are_refused(key, hash_):
    with pytest.raises(MalformedRequest):
        csr.read(signed_with(key, hash_))


def test_a_key_that_is_written_in_another_way_is_refused(keep):
    point = keep.key.public_key().public_bytes(Encoding.X962, csr.PublicFormat.CompressedPoint)
    request = der.whole(keep.request(), der.SEQUENCE)
    info, algorithm, _ = der.children(request)
    version, subject, spki, attributes = der.children(info)
    identifier, _ = der.children(spki)
    compressed = sequence([identifier.raw, element(der.BIT_STRING, b"\0" + point)])
    changed = sequence([version.raw, subject.raw, compressed, attributes.raw])
    signature = element(der.BIT_STRING, b"\0" + keep.key.sign(changed, ec.ECDSA(csr.SHA256())))
    with pytest.raises(MalformedRequest, match="uncompressed"):
        csr.read(sequence([changed, algorithm.raw, signature]))


def rewritten(keep, attributes: bytes, version: bytes = b"\x02\x01\x00") -> bytes:
    """A request of this key with other attributes, properly signed."""
    info, algorithm, _ = der.children(der.whole(keep.request(), der.SEQUENCE))
    _, subject, spki, _ = der.children(info)
    changed = sequence([version, subject.raw, spki.raw, attributes])
    signature = element(der.BIT_STRING, b"\0" + keep.key.sign(changed, ec.ECDSA(csr.SHA256())))
    return sequence([changed, algorithm.raw, signature])


NIL = element(der.OID, der.oid("1.3.6.1.4.1.58270.1.1"))
EXTENSION_REQUEST = element(der.OID, der.oid("1.2.840.113549.1.9.14"))
MARKING = sequence([NIL, element(der.OCTET_STRING, b"")])


def attributes(*values: bytes) -> bytes:
    return element(0xA0, b"".join(sequence([EXTENSION_REQUEST, element(der.SET, value)]) for value in values))


def test_the_rewriting_of_these_tests_makes_good_requests(keep):
    assert csr.read(rewritten(keep, attributes(sequence([MARKING])))).marking == csr.Marking("nil", b"")
    assert csr.read(rewritten(keep, attributes(sequence([])))).marking is None


@pytest.mark.parametrize(
    "bad",
    [
        attributes(sequence([MARKING]), sequence([MARKING])),
        attributes(sequence([MARKING]) * 2),
        attributes(sequence([MARKING, MARKING])),
        attributes(sequence([sequence([NIL, b"\x01\x01\xff", element(der.OCTET_STRING, b"")])])),
        attributes(sequence([sequence([NIL, b"\x01\x01\x00", element(der.OCTET_STRING, b"")])])),
        attributes(sequence([sequence([NIL])])),
        attributes(MARKING[2:]),
        element(0xA0, sequence([NIL, element(der.SET, sequence([MARKING]))])),
        element(0xA0, element(der.SET, b"")),
    ],
    ids=[
        "two-attributes",
        "two-values",
        "two-extensions",
        "critical",
        "false-spelt-out",
        "no-value",
        "no-sequence",
        "other-attribute",
        "no-attribute",
    ],
)
def test_a_request_of_another_shape_is_refused_though_it_is_signed(keep, bad):
    with pytest.raises(MalformedRequest):
        csr.read(rewritten(keep, bad))


def test_another_version_is_refused(keep):
    with pytest.raises(MalformedRequest, match="version"):
        csr.read(rewritten(keep, attributes(sequence([MARKING])), version=b"\x02\x01\x01"))


def test_a_weak_hash_is_refused(keep):
    info, _, _ = der.children(der.whole(keep.request(), der.SEQUENCE))
    algorithm = sequence([element(der.OID, der.oid("1.2.840.10045.4.1"))])
    signature = element(der.BIT_STRING, b"\0" + keep.key.sign(info.raw, ec.ECDSA(SHA1())))  # noqa: S303 — the defect
    with pytest.raises(MalformedRequest, match="SHA-256"):
        csr.read(sequence([info.raw, algorithm, signature]))


def test_a_request_beyond_its_size_is_refused(keep):
    with pytest.raises(MalformedRequest, match="at most"):
        csr.read(keep.request(marking=b"x" * csr.MAX_SIZE))


@settings(max_examples=300)
@given(st.binary(max_size=600))
@example(b"\x30\x84\xff\xff\xff\xff")
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(MalformedRequest):
        csr.read(data)


def test_what_is_read_here_cryptography_reads_in_the_same_way(keep):
    data = keep.request()
    other = x509.load_der_x509_csr(data)
    assert other.is_signature_valid
    assert other.public_key() == csr.read(data).key
    with pytest.raises(InvalidSignature):
        other.public_key().verify(other.signature, b"", ec.ECDSA(csr.SHA256()))
