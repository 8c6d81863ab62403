"""The extension that says what was attested: what is written is read, in one form only, by every reader."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from enarx_attestation import cbor, claims_extension, cmw, der
from enarx_attestation.claims_extension import CertifiedEvidence, KeepClaims, Malformed, decode, encode
from enarx_attestation.cmw import Record
from enarx_attestation.der_encoding import element

NOW = datetime.now(UTC)
CLAIMS = KeepClaims(
    backend="snp",
    hardware=True,
    status="Verified",
    package="sha256:" + "ab" * 32,
    evidence_sha256="cd" * 32,
    report_data="ef" * 64,
    nonce_bound=True,
    policy_sha256="01" * 32,
)
EVIDENCE = CertifiedEvidence(kind="snp", data=bytes(1184), nonce=bytes(32), audience="https://steward.example.org")
LARGEST = msgspec.structs.replace(EVIDENCE, data=b"\xa5" * claims_extension.MAX_EVIDENCE, audience="x" * 2048)
RESULT = Record(claims_extension.CLAIMS_TYPE, msgspec.json.encode(CLAIMS), cmw.RESULT)
SHOWN = Record(claims_extension.EVIDENCE_TYPE, cbor.encode(msgspec.to_builtins(EVIDENCE, builtin_types=(bytes,))), 4)

GO_READER = """
package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
)

func main() {
	der, _ := io.ReadAll(os.Stdin)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, extension := range certificate.Extensions {
		if extension.Id.String() == "1.3.6.1.5.5.7.1.35" {
			os.Stdout.Write(extension.Value)
		}
	}
}
"""


def certificate(value: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate with the extension, signed by its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(minutes=1))
        .not_valid_after(NOW + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(cmw.OID), value), critical=False)
    )
    return builder.sign(key, SHA256()), key


def with_member(**changes: object) -> bytes:
    """The extension with other members in the evidence."""
    members = msgspec.to_builtins(EVIDENCE, builtin_types=(bytes,)) | changes
    return cmw.encode({"result": RESULT, "evidence": SHOWN._replace(content=cbor.encode(members))})


@pytest.mark.parametrize(
    "evidence",
    [None, EVIDENCE, LARGEST, CertifiedEvidence(kind="nil", data=b"{}")],
    ids=["no-evidence", "evidence", "largest", "without-challenge"],
)
def test_what_is_written_is_read(evidence):
    assert decode(encode(CLAIMS, evidence)) == (CLAIMS, evidence)


def test_the_value_is_a_collection_in_cbor_of_two_conceptual_messages():
    collection = cbor.decode(der.octets(der.whole(encode(CLAIMS, EVIDENCE), der.OCTET_STRING)))
    assert {label: (record[0], record[2]) for label, record in collection.items()} == {
        "result": ("application/vnd.enarx-deploy.claims.v1+json", 8),
        "evidence": ("application/vnd.enarx-deploy.evidence.v1+cbor", 4),
    }
    assert cbor.decode(collection["evidence"][1])["data"] == EVIDENCE.data


def test_evidence_costs_little_beside_its_own_bytes():
    assert len(encode(CLAIMS, EVIDENCE)) - len(encode(CLAIMS)) - len(EVIDENCE.data) < 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x04\x00",
        b"\x04\x01\xff",
        element(der.UTF8_STRING, b'["application/json","e30",8]'),
        element(der.OCTET_STRING, cbor.encode([])),
        element(der.OCTET_STRING, cbor.encode({1: list(RESULT)})),
        element(der.OCTET_STRING, cbor.encode({"result": list(RESULT)[:2]})),
        element(der.OCTET_STRING, cbor.encode({"result": [RESULT.type, RESULT.content, True]})),
        element(der.OCTET_STRING, cbor.encode({"result": "x"})),
        element(der.OCTET_STRING, b"\x81" * 4000),
        cmw.encode({}),
        cmw.encode({"evidence": SHOWN}),
        cmw.encode({"evidence": SHOWN, "result": RESULT}),
        cmw.encode({"result": RESULT, "more": SHOWN}),
        cmw.encode({"result": RESULT._replace(indicator=4)}),
        cmw.encode({"result": RESULT._replace(type="application/json")}),
        cmw.encode({"result": RESULT._replace(content=RESULT.content + b" ")}),
        cmw.encode({"result": RESULT._replace(content=b"\xff\xff")}),
        cmw.encode({"result": RESULT, "evidence": SHOWN._replace(type="application/cbor")}),
        cmw.encode({"result": RESULT, "evidence": SHOWN._replace(indicator=8)}),
        cmw.encode({"result": RESULT, "evidence": SHOWN._replace(content=b"\x80")}),
        cmw.encode({"result": RESULT, "evidence": SHOWN._replace(content=b"")}),
        with_member(data=b""),
        with_member(data="text"),
        with_member(data=bytes(claims_extension.MAX_EVIDENCE + 1)),
        with_member(nonce=bytes(15)),
        with_member(nonce=None),
        with_member(audience=7),
        with_member(kind="snp\x1b[1m"),
        with_member(name="bank"),
        encode(CLAIMS) + b" ",
        b"\x04" * (cmw.MAX_SIZE + 1),
    ],
)
def test_other_values_are_refused(value):
    with pytest.raises(Malformed):
        decode(value)


@pytest.mark.parametrize(
    "change", [{"names": "bank"}, {"hardware": 0}, {"package": "x"}, {"backend": "nil\x1b[1m"}, {"status": ""}]
)
def test_claims_with_one_more_or_a_false_type_are_refused(change):
    content = msgspec.json.encode(msgspec.to_builtins(CLAIMS) | change)
    with pytest.raises(Malformed):
        decode(cmw.encode({"result": RESULT._replace(content=content)}))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    for value in (data, element(der.OCTET_STRING, data)):
        with pytest.raises(Malformed):
            decode(value)


scalars = st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary() | st.text()
items = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(0, 99), inner, max_size=4)
        | st.builds(cbor.Tag, st.integers(0, 1 << 32), inner)
    ),
    max_leaves=cbor.MAX_DEPTH,
)


@given(items)
def test_cbor_is_read_as_it_was_written(item):
    assert cbor.decode(cbor.encode(item)) == item


def test_what_has_no_cbor_is_not_written():
    with pytest.raises(TypeError, match="float"):
        cbor.encode([1.5])


def test_openssl_reads_the_largest_certificate_and_carries_it_in_a_handshake(tmp_path):
    shown, key = certificate(encode(CLAIMS, LARGEST))
    pem, file = shown.public_bytes(Encoding.PEM), tmp_path / "server.pem"
    file.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=pem.decode())
    server.load_cert_chain(file)
    ends = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(ends[0], server_side=True) as tls:
            tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ends[1], server_hostname="localhost") as tls:
        seen = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        tls.send(b"x")
    thread.join()
    value = seen.extensions.get_extension_for_oid(x509.ObjectIdentifier(cmw.OID)).value.value
    assert decode(value) == (CLAIMS, LARGEST)


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_go_reads_the_largest_certificate(tmp_path: Path):
    value = encode(CLAIMS, LARGEST)
    program = tmp_path / "reader.go"
    program.write_text(GO_READER)
    der_ = certificate(value)[0].public_bytes(Encoding.DER)
    read = subprocess.run(["go", "run", str(program)], input=der_, capture_output=True, check=False, timeout=300)
    assert (read.returncode, read.stdout) == (0, value), read.stderr
