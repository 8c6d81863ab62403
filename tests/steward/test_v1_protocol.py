"""The v1 protocol as a Keep meets it: a challenge, evidence, a certificate or the reasons why not."""

from __future__ import annotations

import base64
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from enarx_attestation import claims_extension as claims
from enarx_attestation import parse, report_data
from enarx_steward.rules import RULES

NIL = "1.3.6.1.4.1.58270.1.1"


def failed(answer) -> list[str]:
    """The failed checks of a refusal, which must be a proper one."""
    assert answer.status_code == 403, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 403
    assert problem["code"] == "refused"
    assert problem["hint"]
    assert [c["id"] for c in problem["appraisal"]["checks"] if c["outcome"] == "failed"] == problem["checks"]
    return problem["checks"]


def openssl_verify(chain, tmp_path, *options: str) -> str:
    leaf, intermediate, root = chain
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (tmp_path / "root-returned.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (tmp_path / "intermediate.pem").write_bytes(intermediate.public_bytes(Encoding.PEM))
    words = ["openssl", "verify", "-x509_strict", "-CAfile", "root-returned.pem", "-untrusted", "intermediate.pem"]
    ended = subprocess.run([*words, *options, "leaf.pem"], cwd=tmp_path, capture_output=True, text=True)
    return ended.stdout + ended.stderr


def test_openssl_accepts_the_certificate_for_the_names_of_the_policy_and_for_no_other(steward, keep, tmp_path):
    chain = steward.certify(keep)
    good = "leaf.pem: OK\n"
    for purpose in ("sslserver", "sslclient"):
        assert openssl_verify(chain, tmp_path, "-purpose", purpose) == good
    assert openssl_verify(chain, tmp_path, "-verify_hostname", "keep.example.org") == good
    assert openssl_verify(chain, tmp_path, "-verify_ip", "127.0.0.1") == good
    assert "mismatch" in openssl_verify(chain, tmp_path, "-verify_hostname", "www.example.org")


def test_the_certificate_says_what_the_policy_and_the_evidence_say(steward, keep):
    leaf, intermediate, _ = steward.certify(keep)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    identifier = leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    issuer_identifier = intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "keep.example.org"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://example.org/package/sha256/" + "ab" * 32
    ]
    assert leaf.subject.rfc4514_string() == "CN=localhost,OU=nil Keep: no hardware protection"
    assert leaf.public_key() == keep.key.public_key()
    assert leaf.serial_number.bit_length() > 100
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert identifier == x509.SubjectKeyIdentifier.from_public_key(keep.key.public_key())
    assert authority.key_identifier == issuer_identifier.digest


def test_the_certificate_lives_as_long_as_the_policy_says(steward, keep):
    leaf, intermediate, root = steward.certify(keep)
    now = datetime.now(UTC)
    assert now - timedelta(minutes=2) < leaf.not_valid_before_utc <= now
    assert timedelta(minutes=119) < leaf.not_valid_after_utc - now <= timedelta(hours=2)
    assert root.not_valid_before_utc <= intermediate.not_valid_before_utc <= leaf.not_valid_before_utc
    assert timedelta(days=29) < intermediate.not_valid_after_utc - now < timedelta(days=31)
    assert timedelta(days=3650) < root.not_valid_after_utc - now < timedelta(days=3653)


def test_the_root_can_sign_certificates_and_nothing_else(steward, keep):
    *_, root = steward.certify(keep)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 2)
    assert steward.info()["root_pem"].encode() == root.public_bytes(Encoding.PEM)


def test_the_claims_and_the_marking_say_that_no_hardware_protects_the_keep(steward, keep):
    nonce = steward.nonce()
    evidence = keep.evidence(nonce, steward.audience)
    answer = steward.ask(keep.request(), nonce, evidence).json()
    leaf = x509.load_der_x509_certificate(base64.b64decode(answer["chain"][0]))
    extensions = {e.oid.dotted_string: e for e in leaf.extensions}
    assert (extensions[NIL].critical, extensions[NIL].value.value) == (False, b"")
    assert not extensions[claims.OID].critical
    found, shown = claims.decode(extensions[claims.OID].value.value)
    assert (found.backend, found.hardware, found.package) == ("nil", False, keep.package)
    assert found.nonce_bound
    assert found.report_data == answer["appraisal"]["claims"]["report_data"]
    assert found.evidence_sha256 == answer["appraisal"]["claims"]["evidence_sha256"]
    assert found.policy_sha256 == steward.info()["policy_sha256"]
    assert (shown.kind, shown.data) == ("nil", evidence)


def test_the_evidence_in_the_certificate_is_bound_to_it_by_what_stands_beside_it(steward, keep):
    leaf, *_ = steward.certify(keep)
    found, shown = claims.decode(leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(claims.OID)).value.value)
    bound = report_data(
        purpose="tls-server",
        nonce=shown.nonce,
        spki=leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        package=found.package,
        audience=shown.audience,
    )
    assert parse(shown.data).document.report_data == bound.hex() == found.report_data


def test_a_policy_can_leave_the_evidence_out_of_certificates(start, keep):
    section = '[nil]\nany_workload = true\nnames = ["localhost"]\n'
    policy = f'[ca]\ntrust_domain = "a"\nevidence_in_certificate = false\n{section}'
    steward = start(policy=policy).client
    leaf, *_ = steward.certify(keep)
    value = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(claims.OID)).value.value
    found, shown = claims.decode(value)
    assert (found.backend, shown) == ("nil", None)


def test_every_identifier_has_arcs_that_all_readers_take(steward, keep):
    # RFC 5280, appendix B: arcs below 2^28. Go refuses a certificate with a longer one in whole.
    for extension in steward.certify(keep)[0].extensions:
        assert all(int(arc) < 2**28 for arc in extension.oid.dotted_string.split("."))


def test_the_answer_holds_the_appraisal_with_every_check(steward, keep):
    nonce = steward.nonce()
    answer = steward.ask(keep.request(), nonce, keep.evidence(nonce, steward.audience))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    appraisal = answer.json()["appraisal"]
    outcomes = {check["id"]: check["outcome"] for check in appraisal["checks"]}
    assert appraisal["ok"] is True
    assert appraisal["status"] == "Unprotected"
    assert (
        outcomes.items()
        >= {
            "nonce.open": "passed",
            "evidence.collateral": "passed",
            "request.marking": "passed",
            "nil.unprotected": "passed",
            "claims.verified": "passed",
            "policy.kind": "passed",
            "nil.package": "skipped",
            "binding.report-data": "passed",
            "binding.package": "passed",
        }.items()
    )
    assert "failed" not in outcomes.values()


def test_info_names_the_audience_and_what_is_accepted(steward):
    info = steward.info()
    assert info["audience"] == steward.url
    assert info["accepts"] == ["nil"]


def test_a_nonce_is_random_and_says_when_it_ends(steward):
    first = steward.http.post(f"{steward.url}/v1/nonce").json()
    left = datetime.fromisoformat(first["expires"]) - datetime.now(UTC)
    assert timedelta(seconds=110) < left <= timedelta(seconds=120)
    assert len({steward.nonce() for _ in range(50)}) == 50
    assert len(base64.b64decode(first["nonce"])) == 32


def test_a_nonce_answers_once(steward, keep):
    nonce = steward.nonce()
    evidence = keep.evidence(nonce, steward.audience)
    assert steward.ask(keep.request(), nonce, evidence).status_code == 200
    assert failed(steward.ask(keep.request(), nonce, evidence)) == ["nonce.open"]


def test_a_nonce_is_used_up_by_evidence_that_is_refused(steward, keep):
    nonce = steward.nonce()
    assert "binding.report-data" in failed(steward.ask(keep.request(), nonce, keep.evidence(nonce, "elsewhere")))
    assert failed(steward.ask(keep.request(), nonce, keep.evidence(nonce, steward.audience))) == ["nonce.open"]


def test_of_many_that_show_one_nonce_at_the_same_time_one_is_served(steward, keep):
    nonce = steward.nonce()
    request, evidence = keep.request(), keep.evidence(nonce, steward.audience)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: steward.ask(request, nonce, evidence).status_code, range(20)))
    assert sorted(answers) == [200] + [403] * 19


def test_a_nonce_of_another_steward_is_refused(steward, keep):
    nonce = os.urandom(32)
    assert failed(steward.ask(keep.request(), nonce, keep.evidence(nonce, steward.audience))) == ["nonce.open"]


@pytest.mark.parametrize(
    "change",
    [{"purpose": "tls-client"}, {"package": "sha256:" + "cd" * 32}, {"nonce": b"n" * 32}, {"audience": "https://else"}],
    ids=lambda change: f"wrong-{next(iter(change))}",
)
def test_evidence_that_is_bound_to_something_else_is_refused(steward, keep, change):
    nonce = steward.nonce()
    evidence = keep.evidence(nonce, steward.audience, **change)
    assert failed(steward.ask(keep.request(), nonce, evidence)) == ["binding.report-data"]


def test_evidence_of_one_key_with_the_request_of_another_is_refused(steward, keep, make_keep):
    nonce = steward.nonce()
    evidence = keep.evidence(nonce, steward.audience)
    assert failed(steward.ask(make_keep().request(), nonce, evidence)) == ["binding.report-data"]


def test_a_p384_key_is_certified_too(steward, make_keep):
    keep = make_keep(key=ec.generate_private_key(ec.SECP384R1()))
    nonce = steward.nonce()
    answer = steward.ask(keep.request(hash_=SHA384()), nonce, keep.evidence(nonce, steward.audience))
    assert answer.status_code == 200, answer.text


def test_the_subject_of_a_request_is_not_looked_at(steward, keep):
    nonce = steward.nonce()
    answer = steward.ask(keep.request(subject="bank.example"), nonce, keep.evidence(nonce, steward.audience))
    leaf = base64.b64decode(answer.raise_for_status().json()["chain"][0])
    assert b"bank.example" not in leaf


def test_a_request_that_asks_for_names_is_malformed(steward, keep):
    nonce = steward.nonce()
    request = keep.request(more=[x509.SubjectAlternativeName([x509.DNSName("bank.example")])])
    answer = steward.ask(request, nonce, keep.evidence(nonce, steward.audience))
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    # Nothing was appraised, so the challenge is still open.
    assert steward.ask(keep.request(), nonce, keep.evidence(nonce, steward.audience)).status_code == 200


def test_a_request_that_marks_another_kind_is_refused(steward, keep):
    nonce = steward.nonce()
    request = keep.request(oid="1.3.6.1.4.1.58270.1.3", marking=b"report")
    assert failed(steward.ask(request, nonce, keep.evidence(nonce, steward.audience))) == ["request.marking"]


def test_without_a_section_for_nil_nil_evidence_is_refused(start, keep):
    policy = '[ca]\ntrust_domain = "a"\n[kvm]\nany_workload = true\nnames = ["localhost"]\n'
    steward = start(policy=policy).client
    nonce = steward.nonce()
    assert failed(steward.ask(keep.request(), nonce, keep.evidence(nonce, steward.audience))) == ["policy.kind"]


def test_a_package_that_the_policy_does_not_name_is_refused(start, keep, make_keep):
    policy = f'[ca]\ntrust_domain = "a"\n[nil]\npackages = ["{keep.package}"]\nnames = ["localhost"]\n'
    steward = start(policy=policy).client
    steward.certify(keep)
    other = make_keep(package="sha256:" + "cd" * 32)
    nonce = steward.nonce()
    assert failed(steward.ask(other.request(), nonce, other.evidence(nonce, steward.audience)))[0] == "nil.package"


@pytest.mark.parametrize("kind", ["sgx", "pdp11", "kvm"])
def test_evidence_that_is_not_of_its_kind_is_malformed(steward, keep, kind):
    nonce = steward.nonce()
    answer = steward.ask(keep.request(), nonce, keep.evidence(nonce, steward.audience), kind=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"csr":1}',
        b'{"csr":"!","nonce":"AAAAAAAAAAAAAAAAAAAAAA==","evidence":{"kind":"nil","data":""}}',
        b'{"csr":"AAAA","nonce":"AA==","evidence":{"kind":"nil","data":""}}',
        b'{"csr":"AAAA","nonce":"AAAAAAAAAAAAAAAAAAAAAA==","evidence":{"kind":"nil","data":""},"names":["bank.example"]}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)
def test_a_body_that_is_not_as_it_should_be_is_malformed(steward, body):
    answer = steward.http.post(
        f"{steward.url}/v1/certificate", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "malformed"


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", None])
def test_another_type_of_body_is_refused_so_that_no_web_page_can_post_it(steward, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = steward.http.post(f"{steward.url}/v1/certificate", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "media-type")


def test_a_body_that_is_too_large_is_refused_before_it_is_all_there(steward):
    def endless():
        for _ in range(10_000):
            yield b"x" * 65_536

    headers = {"Content-Type": "application/json"}
    answer = steward.http.post(f"{steward.url}/v1/certificate", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_what_is_not_there_and_what_is_asked_otherwise_is_said_as_a_problem(steward):
    missing = steward.http.get(f"{steward.url}/v1/keys")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    wrong = steward.http.get(f"{steward.url}/v1/nonce")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method", "POST")


@pytest.mark.parametrize("host", ["bank.example", "localhost.bank.example", "127.0.0.1.bank.example", ""])
def test_a_name_that_only_resolves_to_this_machine_is_refused(steward, host):
    answer = steward.http.get(f"{steward.url}/v1/info", headers={"Host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("origin", ["https://bank.example", "null", ""])
def test_what_a_web_page_asks_is_refused(steward, origin):
    headers = {"Origin": origin}
    simple = steward.http.post(f"{steward.url}/v1/nonce", headers=headers)
    assert (simple.status_code, simple.headers["content-type"]) == (403, "application/problem+json")
    assert (simple.json()["code"], simple.json()["checks"]) == ("origin", ["request.origin"])
    headers["Content-Type"] = "application/json"
    assert steward.http.post(f"{steward.url}/v1/certificate", content=b"{}", headers=headers).status_code == 403
    assert steward.http.get(f"{steward.url}/v1/info", headers=headers).status_code == 403
    assert steward.http.options(f"{steward.url}/v1/certificate", headers=headers).status_code == 403
    enarx = steward.http.post(steward.url, headers={"Origin": origin})
    assert (enarx.status_code, enarx.content) == (403, b"")


def test_localhost_is_a_name_of_this_machine(steward):
    answer = steward.http.get(f"{steward.url}/v1/info", headers={"Host": "LocalHost:80"})
    assert answer.status_code == 200


def test_fifty_keeps_at_once_get_a_certificate_each(steward, make_keep):
    with ThreadPoolExecutor(50) as pool:
        chains = list(pool.map(lambda _: steward.certify(make_keep()), range(50)))
    assert len({leaf.serial_number for leaf, *_ in chains}) == 50
    for leaf, intermediate, _ in chains:
        leaf.verify_directly_issued_by(intermediate)


def test_the_package_that_is_named_must_be_the_one_in_the_evidence(steward, keep):
    nonce = steward.nonce()
    body = asked(keep, nonce, steward.audience) | {"package": "sha256:" + "cd" * 32}
    answer = steward.http.post(f"{steward.url}/v1/certificate", json=body)
    assert failed(answer) == ["binding.report-data", "binding.package"]


@pytest.mark.parametrize(
    "more",
    [
        {"package": "ab" * 32},
        {"endorsements": {"../vcek.der": ""}},
        {"endorsements": {"notes.txt": ""}},
        {"endorsements": {f"crl{number}.der": "" for number in range(9)}},
        {"endorsements": {"vcek.der": "!"}},
        {"endorsements": ["vcek.der"]},
    ],
    ids=["no-digest", "path", "unknown-file", "too-many", "no-base64", "no-object"],
)
def test_a_package_or_endorsements_that_are_none_are_malformed(steward, keep, more):
    body = asked(keep, steward.nonce(), steward.audience) | more
    answer = steward.http.post(f"{steward.url}/v1/certificate", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_a_refusal_says_for_each_check_what_to_do(steward, keep):
    answer = steward.ask(keep.request(), os.urandom(32), keep.evidence(b"n" * 32, "elsewhere"))
    assert answer.headers["content-type"] == "application/problem+json"
    checks = [check for check in answer.json()["appraisal"]["checks"] if check["outcome"] == "failed"]
    assert [check["id"] for check in checks] == answer.json()["checks"]
    assert all(check["hint"] and check["hint"] in answer.json()["hint"] for check in checks)


def test_every_check_of_the_stewards_own_says_what_to_do_and_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "steward.md").read_text()
    for name, rule in RULES.items():
        assert rule.hint, name
        assert f"`{name}`" in page, name


def asked(keep, nonce: bytes, audience: str) -> dict:
    """The body of a request that would be good."""
    data = {"csr": keep.request(), "nonce": nonce}
    body: dict = {name: base64.b64encode(value).decode() for name, value in data.items()}
    evidence = base64.b64encode(keep.evidence(nonce, audience)).decode()
    return body | {"evidence": {"kind": "nil", "data": evidence}}
