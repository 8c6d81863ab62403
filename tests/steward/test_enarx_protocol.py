"""Enarx's protocol as its own Keeps meet it: `POST /`, and no reasons."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from enarx_attestation import claims_extension as claims
from enarx_attestation import der
from enarx_attestation.der_encoding import sequence

BUNDLE = "application/vnd.steward.pkcs10-bundle.v1"
VECTORS = Path(__file__).parent.parent / "attestation" / "vectors"


def certificates(sequence_: bytes) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(e.raw) for e in der.children(der.whole(sequence_, der.SEQUENCE))]


def openssl_request(tmp_path: Path, configuration: str) -> bytes:
    (tmp_path / "request.cnf").write_text(configuration)
    words = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout k.pem -config request.cnf"
    subprocess.run([*words.split(), "-outform", "DER", "-out", "r.der"], cwd=tmp_path, check=True, capture_output=True)
    return (tmp_path / "r.der").read_bytes()


def test_it_answers_that_it_is_alive(steward):
    answer = steward.http.get(steward.url)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_request_is_answered_with_the_path_root_first(steward, keep):
    answer = steward.enarx(keep.request())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    root, intermediate, leaf = certificates(answer.content)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert leaf.public_key() == keep.key.public_key()
    assert root.subject == root.issuer


def test_the_certificate_is_marked_and_claims_neither_package_nor_freshness(steward, keep):
    *_, leaf = certificates(steward.enarx(keep.request()).content)
    extensions = {e.oid.dotted_string: e.value for e in leaf.extensions}
    assert extensions["1.3.6.1.4.1.58270.1.1"].value == b""
    found, shown = claims.decode(extensions[claims.OID].value)
    assert shown is None
    assert (found.hardware, found.package, found.nonce_bound, found.report_data) == (False, None, False, None)
    names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "keep.example.org"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == []


def test_a_bundle_is_answered_in_its_order(steward, make_keep):
    keeps = [make_keep() for _ in range(5)]
    answer = steward.enarx(sequence(keep.request() for keep in keeps), BUNDLE)
    assert answer.status_code == 200
    chain, issued = der.children(der.whole(answer.content, der.SEQUENCE))
    root, intermediate = certificates(chain.raw)
    intermediate.verify_directly_issued_by(root)
    leaves = certificates(issued.raw)
    assert [leaf.public_key() for leaf in leaves] == [keep.key.public_key() for keep in keeps]
    for leaf in leaves:
        leaf.verify_directly_issued_by(intermediate)
    assert all(one.serial_number != other.serial_number for one, other in pairwise(leaves))


def test_of_a_bundle_all_requests_are_good_or_none_is_answered(steward, make_keep):
    requests = [make_keep().request(), make_keep().request(marking=None), make_keep().request()]
    answer = steward.enarx(sequence(requests), BUNDLE)
    assert (answer.status_code, answer.content) == (401, b"")


def test_an_empty_bundle_is_answered_with_no_certificates(steward):
    answer = steward.enarx(sequence([]), BUNDLE)
    _, issued = der.children(der.whole(answer.content, der.SEQUENCE))
    assert issued.content == b""


def test_a_bundle_of_too_many_is_refused(steward, keep):
    assert steward.enarx(sequence([keep.request()] * 65), BUNDLE).status_code == 400


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/pkcs10; charset=utf-8", "application/x-pem-file", "application/pkcs10, application/pkcs10"],
)
def test_another_type_is_refused(steward, keep, content_type):
    answer = steward.enarx(keep.request(), content_type)
    assert (answer.status_code, answer.content) == (400, b"")


def test_a_request_without_evidence_is_unauthorised(steward, keep):
    answer = steward.enarx(keep.request(marking=None))
    assert (answer.status_code, answer.content) == (401, b"")


def test_a_request_of_openssl_without_evidence_is_unauthorised(steward, tmp_path):
    request = openssl_request(tmp_path, "[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=localhost\n")
    assert steward.enarx(request).status_code == 401


@pytest.mark.parametrize(
    "more",
    [
        "req_extensions=e\n[e]\nsubjectAltName=DNS:bank.example\n",
        "req_extensions=e\n[e]\nbasicConstraints=critical,CA:true\n",
        "req_extensions=e\n[e]\n1.3.6.1.4.1.58270.1.1=critical,DER:0500\n",
        "req_extensions=e\n[e]\n1.3.6.1.4.1.58270.1.1=DER:0500\n",
        "req_extensions=e\n[e]\n1.3.6.1.4.1.58270.1.9=DER:0500\n",
        "attributes=a\n[a]\nchallengePassword=secret1\n",
    ],
    ids=["names", "authority", "critical-marking", "marking-not-empty", "unknown-evidence", "password"],
)
def test_a_request_of_openssl_that_asks_for_more_is_refused(steward, tmp_path, more):
    request = openssl_request(tmp_path, f"[req]\nprompt=no\ndistinguished_name=dn\n{more}[dn]\nCN=localhost\n")
    answer = steward.enarx(request)
    assert (answer.status_code, answer.content) == (400, b"")


def test_a_request_that_asks_for_names_beside_its_marking_is_refused(steward, keep):
    names = x509.SubjectAlternativeName([x509.DNSName("bank.example")])
    assert steward.enarx(keep.request(more=[names])).status_code == 400


@pytest.mark.parametrize("body", [b"", b"\x30", b"\x30\x80", b"-----BEGIN CERTIFICATE REQUEST-----", b"\0" * 1_000_000])
def test_what_is_no_request_is_refused(steward, body):
    answer = steward.enarx(body)
    assert (answer.status_code, answer.content) == (400, b"")


def test_a_body_beyond_two_megabytes_is_refused(steward):
    answer = steward.enarx(b"0" * (2 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.content) == (413, b"")


def test_real_evidence_of_hardware_is_refused_where_the_policy_does_not_name_the_kind(steward):
    request = (VECTORS / "sgx" / "enarx-xeon-icelake-outofdate" / "request.csr.der").read_bytes()
    assert steward.enarx(request).status_code == 400


@pytest.mark.parametrize(
    "section",
    [
        '[kvm]\nany_workload = true\nlegacy_binding = true\nnames = ["localhost"]\n',
        '[nil]\nany_workload = true\nnames = ["localhost"]\n',
        f'[nil]\npackages = ["sha256:{"ab" * 32}"]\nlegacy_binding = true\nnames = ["localhost"]\n',
    ],
    ids=["no-nil-section", "no-legacy-binding", "packages-are-named"],
)
def test_a_policy_that_does_not_ask_for_it_refuses_it(start, keep, section):
    steward = start(policy=f'[ca]\ntrust_domain = "a"\n{section}').client
    answer = steward.enarx(keep.request())
    assert (answer.status_code, answer.content) == (400, b"")


def test_what_is_wrong_is_in_the_log_and_the_body_is_not(start, keep):
    running = start()
    secret = os.urandom(16).hex()
    running.client.enarx(keep.request(subject=secret, marking=None))
    running.client.enarx(secret.encode())
    running.process.terminate()
    log = running.process.communicate(timeout=120)[1]
    assert "carries no evidence" in log
    assert '"POST / HTTP/1.1" 400' in log
    assert secret not in log


def test_other_ways_of_asking_are_refused(steward):
    assert steward.http.put(steward.url, content=b"x").status_code == 405
    assert steward.http.get(f"{steward.url}/elsewhere").status_code == 404
