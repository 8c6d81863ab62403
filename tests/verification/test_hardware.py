"""`verify` with trust in the hardware: evidence out of the certificate, under the root of a vendor in miniature.

Evidence of real hardware commits to no key of ours, so it is made here. The anchors are an argument of the library's;
no option of the command names any.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import CertificateSigningRequestBuilder, Name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx_attestation import (
    KINDS,
    PURPOSE_TLS,
    VENDOR_ANCHORS,
    legacy_report_data,
    load_endorsements,
    load_policy,
    parse,
    report_data,
)
from enarx_attestation.claims_extension import CertifiedEvidence
from enarx_deploy.verification import Hardware, Report, verify
from enarx_deploy.verification.certificate import read_leaf
from enarx_deploy.verification.hardware import appraise_certified
from enarx_steward import policy
from enarx_steward.appraiser import Appraiser
from enarx_steward.ca import Leaf
from enarx_steward.issuance import Steward

PACKAGE = "sha256:" + "ab" * 32
AUDIENCE = "https://steward.example.org"
NONCE = bytes(range(32))
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MEASUREMENT = "00" * 48
ATTESTATION = Path(__file__).parents[1] / "attestation"


def vendors():
    """The vendors in miniature that the tests of `enarx_attestation` have."""
    spec = importlib.util.spec_from_file_location("vendors_in_miniature", ATTESTATION / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MINIATURE = vendors()


@pytest.fixture(scope="module")
def amd():
    return MINIATURE.Amd()


@pytest.fixture(scope="module")
def intel():
    return MINIATURE.Intel()


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def commitment(key: ec.EllipticCurvePrivateKey, **changes: object) -> bytes:
    fields = {"purpose": PURPOSE_TLS, "nonce": NONCE, "spki": spki(key), "package": PACKAGE, "audience": AUDIENCE}
    return report_data(**fields | changes)


@dataclass
class Held:
    """The collateral that a Steward has of its own."""

    files: dict[str, bytes]

    def find(self, evidence, _at, *, revocation):
        assert revocation == "require"
        return load_endorsements(evidence.kind, self.files, evidence)


@pytest.fixture
def certify(service):
    """A certificate with evidence, as a Steward issues it; `changes` are claims or facts that it should not have."""

    def certify(
        kind: str,
        data: bytes,
        *,
        nonce: bytes | None = NONCE,
        package: str | None = PACKAGE,
        lifetime: timedelta = timedelta(hours=24),
        shown: bool = True,
        at: datetime = NOW,
        **changes: object,
    ) -> bytes:
        claims = msgspec.structs.replace(
            service.claims,
            backend=kind,
            hardware=kind not in ("nil", "kvm"),
            status="Verified",
            package=package,
            evidence_sha256=hashlib.sha256(data).hexdigest(),
        )
        evidence = CertifiedEvidence(kind=kind, data=data, nonce=nonce, audience=None if nonce is None else AUDIENCE)
        grant = msgspec.structs.replace(service.grant, lifetime=lifetime)
        leaf = Leaf(
            key=service.key.public_key(),
            claims=msgspec.structs.replace(claims, **changes),
            grant=grant,
            trust_domain="localhost",
            evidence=evidence if shown else None,
        )
        return service.authority_of(service.root_of(at - timedelta(days=2)), at - timedelta(days=1)).issue(leaf, at)

    return certify


@pytest.fixture
def look(service, trust) -> Callable[..., Report]:
    """Verify a service with trust in hardware."""

    def look(
        certificate: bytes, files: dict[str, bytes], anchors, sections, *, at: datetime = NOW, **changes
    ) -> Report:
        hardware = Hardware(
            policy=None if sections is None else load_policy(sections),
            policy_from="policy.toml",
            endorse=lambda evidence, _at: load_endorsements(evidence.kind, files, evidence),
            endorsed_by="endorsements",
            anchors=anchors,
        )
        with service.serving(certificate) as port:
            return verify("127.0.0.1", port, trust(hardware=hardware, **changes), at)

    return look


@pytest.fixture
def snp(service, certify, look, amd) -> Callable[..., Report]:
    """Verify a Keep in SEV-SNP; the arguments are what is wrong with it."""

    def snp(
        fields: dict[int, bytes] | None = None,
        *,
        bound: bytes | None = None,
        sections: dict | None = {"snp": {"measurements": [MEASUREMENT]}},  # noqa: B006 — never changed
        files: dict[str, bytes] | None = None,
        anchors=amd.anchors,
        certificate: dict | None = None,
        **changes: object,
    ) -> Report:
        data = amd.report({0x50: bound or commitment(service.key), **(fields or {})})
        good = {"vcek.der": amd.vek(amd.extensions()).der, "crl.der": amd.crl()}
        return look(
            certify("snp", data, **(certificate or {})), good if files is None else files, anchors, sections, **changes
        )

    return snp


def failed(report: Report) -> list[str]:
    assert report.ok is not bool(report.failed)
    assert all(check.hint for check in report.failed)
    return [check.id for check in report.failed]


def test_a_keep_in_snp_needs_no_steward(snp):
    report = snp(root_pem="", accepted=frozenset())
    assert failed(report) == []
    assert report.trust == "hardware"
    skipped = {check.id for check in report.checks if check.outcome == "skipped"}
    assert {"certificate.chain", "claims.backend"} <= skipped
    assert "binding.report-data" in {check.id for check in report.checks}
    for part in ("AMD SEV-SNP", "the operator of the machine", "debugging is off", "ucode 219", "no Steward"):
        assert part in report.from_whom
    for part in ("until 2026-06-02T00:00:00Z", "128 bits"):
        assert part in report.for_how_long
    for part in (PACKAGE, MEASUREMENT, "when, how much and with whom"):
        assert part in report.where
    assert report.hardware["nonce"] == NONCE.hex()
    assert report.hardware["audience"] == AUDIENCE


def test_the_times_of_a_certificate_are_the_word_of_whoever_issued_it(snp):
    now = datetime.now(UTC)
    asked = {"certificate": {"at": now}, "at": now}
    asked |= {"sections": {"snp": {"measurements": [MEASUREMENT], "revocation": "off"}}}
    by_steward, by_stranger = snp(**asked), snp(**asked, root_pem="")
    assert failed(by_steward) == failed(by_stranger) == []
    assert "that it was fresh then is the Steward's word" in by_steward.for_how_long
    assert "its times are the peer's own word" in by_stranger.for_how_long
    assert "Steward's word" not in by_stranger.for_how_long


def test_what_a_steward_issued_is_appraised_again_without_it(service, look, amd):
    text = (
        f'[ca]\ntrust_domain = "localhost"\n[snp]\nnames = ["localhost", "127.0.0.1"]\nmeasurements = ["{MEASUREMENT}"]'
    )
    files = {"vcek.der": amd.vek(amd.extensions()).der, "crl.der": amd.crl()}
    steward = Steward(
        service.authority_of(service.root_of(NOW - timedelta(days=2)), NOW - timedelta(days=1)),
        policy.parse(text.encode()),
        audience=AUDIENCE,
        clock=lambda: NOW,
        appraiser=Appraiser(amd.anchors, Held(files)),
    )
    nonce = steward.challenge().nonce
    certified = steward.certify(
        request=CertificateSigningRequestBuilder(Name([])).sign(service.key, SHA256()).public_bytes(Encoding.DER),
        nonce=nonce,
        kind="snp",
        evidence=amd.report({0x50: commitment(service.key, nonce=nonce)}),
        package=PACKAGE,
    )
    report = look(certified.certificate, files, amd.anchors, {"snp": {"measurements": [MEASUREMENT]}}, root_pem="")
    assert failed(report) == []
    assert report.hardware["nonce"] == nonce.hex()


def test_a_domain_in_tdx(service, certify, look, intel):
    body = bytearray(MINIATURE.domain())
    body[520:584] = commitment(service.key)
    data = intel.quote("TDX", body=bytes(body))
    files = {"collateral.json": intel.collateral("TDX")}
    section = {"mrtds": [MEASUREMENT]}
    report = look(certify("tdx", data), files, intel.anchors, {"tdx": section})
    assert failed(report) == []
    assert "Intel TDX" in report.from_whom
    assert "UpToDate" in report.from_whom
    assert "a stranger's word" in report.where  # MRTD is the firmware's, which boots what it is given
    _, kernel, initrd, _ = report.hardware["claims"]["rtmr"]
    compared = section | {"rtmr1": [kernel], "rtmr2": [initrd]}
    assert "a stranger's word" not in look(certify("tdx", data), files, intel.anchors, {"tdx": compared}).where


def test_an_enclave_in_sgx_that_is_out_of_date_is_named_so(service, certify, look, intel):
    data = intel.quote("SGX", body=MINIATURE.enclave(report_data=commitment(service.key)))
    levels = [MINIATURE.level([9] * 16, [], "UpToDate", kind="SGX")]
    levels += [MINIATURE.level([0] * 16, [], "OutOfDate", kind="SGX", advisories=["INTEL-SA-00000"], pce=0)]
    info = intel.tcb_info("SGX", tcbLevels=levels)
    files = {"collateral.json": intel.collateral("SGX", tcb_info=info)}
    section = {"mrenclaves": ["01" * 32]}
    refused = look(certify("sgx", data), files, intel.anchors, {"sgx": section})
    assert set(failed(refused)) == {"sgx.policy.status"}
    assert refused.hardware["advisories"] == ["INTEL-SA-00000"]
    accepted = look(
        certify("sgx", data), files, intel.anchors, {"sgx": section | {"accept_statuses": ["UpToDate", "OutOfDate"]}}
    )
    assert failed(accepted) == []
    assert "status OutOfDate" in accepted.from_whom
    assert "INTEL-SA-00000" in accepted.from_whom


@pytest.mark.parametrize(
    "change",
    [
        {"spki": spki(ec.generate_private_key(ec.SECP256R1()))},
        {"nonce": bytes(32)},
        {"package": "sha256:" + "cd" * 32},
        {"audience": "https://other.example.org"},
        {"purpose": "tls-client"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_evidence_for_another_key_nonce_package_audience_or_purpose(snp, service, change):
    assert failed(snp(bound=commitment(service.key, **change))) == ["binding.report-data"]


def test_evidence_under_another_root(snp):
    report = snp(anchors=VENDOR_ANCHORS)
    assert not report.ok
    assert "claims.verified" in failed(report)


def test_a_keep_that_its_host_may_debug(snp):
    report = snp({0x08: (0xB001F).to_bytes(8, "little")})
    assert failed(report) == ["snp.policy.guest"]
    assert report.hardware["debug"] is True
    section = {"measurements": [MEASUREMENT], "guest_policy": {"debug": "any"}}
    accepted = snp({0x08: (0xB001F).to_bytes(8, "little")}, sections={"snp": section})
    assert failed(accepted) == []
    assert "NOT from the operator of the machine" in accepted.from_whom


def test_another_measurement(snp):
    assert failed(snp({0x90: b"\x01"})) == ["snp.policy.workload"]


def test_another_package_than_expected(snp):
    assert failed(snp(package="sha256:" + "cd" * 32)) == ["claims.package"]


def test_no_policy_accepts_nothing(snp):
    assert failed(snp(sections=None)) == ["policy.workload", "policy.kind"]


def test_where_any_measurement_will_do_the_package_is_a_strangers_word(snp):
    report = snp({0x90: b"\x01"}, sections={"snp": {"any_workload": True}})
    assert failed(report) == []
    assert "a stranger's word" in report.where


def test_a_policy_without_a_section_for_the_kind(snp):
    assert failed(snp(sections={"sgx": {"any_workload": True}})) == ["policy.kind"]


def test_no_endorsements(snp):
    assert failed(snp(files={})) == ["evidence.endorsed", "claims.package"]


def test_revocation_lists_that_are_not_current(snp, amd):
    files = {"vcek.der": amd.vek(amd.extensions()).der, "crl.der": amd.crl(days=(-30, -1))}
    assert failed(snp(files=files)) == ["snp.policy.revocation"]


def test_a_certificate_without_evidence(snp):
    assert failed(snp(certificate={"shown": False})) == ["evidence.present", "claims.package"]


def test_evidence_of_which_the_claims_do_not_speak(snp):
    assert failed(snp(certificate={"evidence_sha256": "00" * 32})) == ["evidence.claimed"]
    assert failed(snp(certificate={"backend": "tdx"})) == ["evidence.claimed"]


def test_a_certificate_that_has_ended_or_lives_too_long(snp):
    assert failed(snp(at=NOW + timedelta(hours=25))) == ["certificate.validity"]
    assert failed(snp(certificate={"lifetime": timedelta(days=8)})) == ["evidence.age"]


def test_evidence_that_cannot_be_read(certify, look, amd):
    report = look(certify("snp", b"\x02" * 100), {}, amd.anchors, {"snp": {"any_workload": True}})
    assert failed(report) == ["evidence.form", "claims.package"]


NAMED = ("collateral.json", "vcek.der", "platform.pub.pem")
REAL = {
    "snp": "snp/milan-v3-azure/report.bin",
    "tdx": "tdx/phala-v4-uptodate/quote.bin",
    "sgx": "sgx/phala-nonserver-cfg-swhard/quote.bin",
}


@pytest.mark.parametrize("kind", [*KINDS, "unheard-of"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_certificate_holds_the_answer_is_checks(certify, kind, data):
    real = (ATTESTATION / "vectors" / REAL.get(kind, REAL["snp"])).read_bytes()[: data.draw(st.integers(1, 8000))]
    held = data.draw(st.just(real) | st.binary(min_size=1, max_size=200))
    bound = data.draw(st.booleans())
    leaf = read_leaf(certify(kind, held, nonce=NONCE if bound else None, package=PACKAGE if bound else None))
    files = {name: (ATTESTATION / "vectors/tdx/phala-v4-uptodate/collateral.json").read_bytes() for name in NAMED}
    tables = {name.replace("-", "_"): {"any_workload": True, "legacy_binding": True} for name in KINDS}
    hardware = Hardware(
        policy=load_policy(tables),
        policy_from="",
        endorse=lambda evidence, _at: load_endorsements(evidence.kind, files, evidence),
        endorsed_by="",
    )
    appraised = appraise_certified(leaf, hardware, NOW)
    assert not all(check.ok for check in appraised.checks)
    assert all(check.hint for check in appraised.checks if not check.ok)


def test_evidence_that_answered_no_challenge_needs_a_policy_that_says_so(snp, service):
    bound = legacy_report_data(spki(service.key), "snp")
    certificate = {"nonce": None, "package": None}
    section = {"measurements": [MEASUREMENT]}
    refused = snp(bound=bound, certificate=certificate, sections={"snp": section})
    assert failed(refused) == ["evidence.bound", "claims.package"]
    launched = {0xC0: bytes.fromhex("ab" * 32)}
    section |= {"legacy_binding": True, "measured_package": True, "packages": [PACKAGE]}
    accepted = snp(launched, bound=bound, certificate=certificate, sections={"snp": section})
    assert failed(accepted) == []
    assert "the evidence may be of any age" in accepted.for_how_long


def test_a_keep_without_hardware_is_refused_whatever_the_policy_says(service, certify, look, amd):
    document = f'{{"kind":"nil","package":"{PACKAGE}","report_data":"{commitment(service.key).hex()}"}}'.encode()
    assert parse(document).kind == "nil"
    report = look(certify("nil", document), {}, amd.anchors, {"nil": {"any_workload": True}})
    assert failed(report) == ["evidence.hardware", "claims.package"]
    assert "no hardware vouches" in report.failed[0].detail


def test_the_command_refuses_a_keep_without_hardware(service, certify, enarx_deploy):
    document = f'{{"kind":"nil","package":"{PACKAGE}","report_data":"{commitment(service.key).hex()}"}}'.encode()
    with service.serving(certify("nil", document, at=datetime.now(UTC))) as port:
        ended = enarx_deploy("verify", f"localhost:{port}", "--trust", "hardware", "--any-workload", "--json")
    assert ended.returncode == 3
    assert "no hardware vouches" in ended.stderr
    assert json.loads(ended.stdout)["trust"] == "hardware"


@pytest.fixture
def snp_port(service, certify, amd):
    """A Keep in SEV-SNP of a vendor that is nobody's."""
    data = amd.report({0x50: commitment(service.key)})
    with service.serving(certify("snp", data, at=datetime.now(UTC))) as port:
        yield port


@pytest.fixture
def endorsements(tmp_path, amd) -> Path:
    directory = tmp_path / "endorsements"
    directory.mkdir()
    (directory / "vcek.der").write_bytes(amd.vek(amd.extensions()).der)
    (directory / "crl.der").write_bytes(amd.crl())
    return directory


def test_the_command_knows_no_root_but_the_vendors_own(snp_port, endorsements, enarx_deploy):
    words = ("--trust", "hardware", "--measurement", MEASUREMENT, "--endorsements", str(endorsements))
    ended = enarx_deploy("verify", f"localhost:{snp_port}", *words, "--package", PACKAGE, "--explain")
    assert ended.returncode == 3
    assert "FAILED  claims.verified" in ended.stdout
    assert "see    " in ended.stdout
    assert "to do  " in ended.stdout


def test_the_command_looks_into_the_store_where_no_endorsements_are_given(snp_port, enarx_deploy):
    ended = enarx_deploy("verify", f"localhost:{snp_port}", "--trust", "hardware", "--any-workload")
    assert ended.returncode == 3
    assert "evidence.endorsed: the collateral store" in ended.stderr
    assert "enarx-deploy collateral fetch" in ended.stdout


def test_reference_values_name_package_and_measurements(snp_port, endorsements, enarx_deploy, tmp_path):
    record = {
        "backend": "snp",
        "hardware": True,
        "package": PACKAGE,
        "measurements": {"launch": MEASUREMENT},
        "policy": {"snp": {"measurements": [MEASUREMENT], "names": ["localhost"], "lifetime": "1h"}},
    }
    (tmp_path / "values.json").write_text(json.dumps(record))
    words = ("--trust", "hardware", "--reference-values", str(tmp_path / "values.json"))
    ended = enarx_deploy("verify", f"localhost:{snp_port}", *words, "--endorsements", str(endorsements), "--json")
    checks = {check["id"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks["claims.package"]["ok"]
    assert checks["snp.policy.workload"]["ok"]
    assert checks["binding.report-data"]["ok"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--measurement", "00" * 48], "--measurement is of no use with --trust steward"),
        (["--trust", "hardware", "--measurement", "00"], "is not a launch measurement"),
        (["--trust", "hardware", "--measurement", "xy" * 32], "is not a launch measurement"),
        (["--trust", "hardware", "--measurement", "00" * 48, "--policy", "x"], "exclude each other"),
        (["--trust", "hardware", "--policy", "missing.toml"], "missing.toml"),
        (["--trust", "hardware", "--policy", "."], "."),
        (["--trust", "hardware", "--reference-values", "{bad}"], "not a record of reference values"),
        (["--trust", "hardware", "--policy", "{bad}"], "not TOML"),
        (["--trust", "hardware", "--policy", "{empty}"], "constrains no workload"),
        (["--trust", "hardware", "--endorsements", "{missing}", "--any-workload"], "--endorsements"),
    ],
)
def test_wrong_usage(enarx_deploy, tmp_path, words, message):
    (tmp_path / "bad").write_text("{")
    (tmp_path / "empty").write_text("[snp]\n")
    places = {name: str(tmp_path / name) for name in ("bad", "empty", "missing")}
    ended = enarx_deploy("verify", "localhost:1", *(word.format(**places) for word in words))
    assert ended.returncode == 2
    assert message in ended.stderr


def test_policy_of_a_steward_will_do(snp_port, endorsements, enarx_deploy, tmp_path):
    text = '[ca]\ntrust_domain = "localhost"\n[snp]\nany_workload = true\nnames = ["localhost"]\nlifetime = "1h"\n'
    policy.parse(text.encode())
    (tmp_path / "steward.toml").write_text(text)
    words = ("--trust", "hardware", "--policy", str(tmp_path / "steward.toml"), "--endorsements", str(endorsements))
    ended = enarx_deploy("verify", f"localhost:{snp_port}", *words, "--revocation", "off", "--any-workload", "--json")
    checks = {check["id"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks["policy.kind"]["ok"]
    assert checks["snp.policy.revocation"]["outcome"] == "skipped"
