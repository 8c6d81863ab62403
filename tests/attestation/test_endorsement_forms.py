"""Endorsements in the forms in which vendors and tools hand them out, and reports with the host's table behind them."""

from __future__ import annotations

import base64
import json
import struct
import textwrap
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_attestation import MalformedCollateral, Verdict, appraise_files, extended_report, policy_for
from enarx_attestation.intel_collateral import read_collateral
from enarx_attestation.x509 import read_crl
from enarx_collateral.directory import offers

VECTORS = Path(__file__).parent / "vectors"
TDX = VECTORS / "tdx/phala-v4-uptodate"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
VCEK = "63da758d-e664-4564-adc5-f4b93be8accd"
VLEK = "a8074bc2-a25a-483e-aae6-39c045a0b8a1"
CRL = "92f81bc3-5811-4d3d-97ff-d19f88dc67ea"
ARK = "c0b406a4-a803-4952-9743-3fb6014cd0ae"


def pem(label: str, der: bytes) -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def table(*entries: tuple[str, bytes], end: bytes = bytes(24)) -> bytes:
    head, body = b"", b""
    first = 24 * len(entries) + len(end)
    for guid, data in entries:
        head += struct.pack("<16sII", uuid.UUID(guid).bytes, first + len(body), len(data))
        body += data
    return head + end + body


@pytest.fixture
def judge(amd):
    """The verdict over a good report with these endorsements, under the vendor's root in miniature."""

    def judge(files: dict[str, bytes], report: bytes | None = None) -> Verdict:
        policy = policy_for("snp", any_workload=True)
        data = amd.report() if report is None else report
        return appraise_files(data, files, policy, kind="snp", at=NOW, expected=None, anchors=amd.anchors)

    return judge


@pytest.fixture
def key(amd) -> bytes:
    return amd.vek(amd.extensions()).der


@pytest.mark.parametrize("name", ["vcek.der", "vcek.pem", "vcek.crt", "vcek.cer"])
@pytest.mark.parametrize("form", ["der", "pem", "pem of another system"])
def test_the_keys_certificate_in_each_form(judge, amd, key, name, form):
    forms = {"der": key, "pem": pem("CERTIFICATE", key)}
    data = forms.get(form, forms["pem"].replace(b"\n", b"\r\n"))
    assert judge({name: data, "crl.der": amd.crl()}).ok


def test_issuers_in_the_same_file_as_the_key(judge, amd, key):
    bundle = pem("CERTIFICATE", key) + amd.ask.pem.encode() + amd.ark.pem.encode()
    assert judge({"vcek.pem": bundle, "crl.der": amd.crl()}).ok


@pytest.mark.parametrize("name", ["crl.der", "crl-milan.pem", "crl_milan.crl"])
@pytest.mark.parametrize("form", ["der", "pem"])
def test_revocation_lists_in_each_form(judge, amd, key, name, form):
    data = amd.crl() if form == "der" else pem("X509 CRL", amd.crl())
    assert judge({"vcek.der": key, name: data}).ok


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----",
        b"-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\nmore",
        b"-----BEGIN X509 CRL-----",
    ],
)
def test_lists_that_are_damaged(data):
    with pytest.raises(MalformedCollateral):
        read_crl(data)


def test_the_hosts_table_behind_a_report_endorses_it(judge, amd, key):
    behind = table((VCEK, key), (ARK, amd.ark.der), (CRL, amd.crl()))
    assert judge({}, amd.report() + behind).ok
    assert judge({"crl.der": amd.crl()}, amd.report() + table((VCEK, key))).ok


def test_what_the_caller_gives_goes_before_the_hosts_table(judge, amd, key):
    behind = table((VCEK, b"not a certificate"), (VLEK, b"nor this"), (CRL, amd.crl()))
    assert judge({"vcek.pem": pem("CERTIFICATE", key)}, amd.report() + behind).ok


@pytest.mark.parametrize(
    "behind",
    [
        b"\0",
        bytes(24),
        bytes(3000),
        b"\xff" * 24,
        table((VCEK, b"x"), end=b""),
        table((VCEK, b"x"))[:-1],
        table(*[(VCEK, b"x")] * 20),
    ],
    ids=["byte", "zeros", "many-zeros", "no-table", "no-end", "cut", "too-many"],
)
def test_what_is_no_table_makes_the_report_malformed(judge, amd, key, behind):
    verdict = judge({"vcek.der": key, "crl.der": amd.crl()}, amd.report() + behind)
    assert [check.id for check in verdict.failed] == ["evidence.malformed"]


ANSWER = struct.pack("<II", 0, 1184) + bytes(24)


@pytest.mark.parametrize("size", [32 + 1184, 4000, 4096], ids=["bare", "linux", "page"])
def test_the_firmwares_whole_answer_is_read_as_the_report_in_it(judge, amd, key, size):
    files = {"vcek.der": key, "crl.der": amd.crl()}
    assert judge(files, (ANSWER + amd.report()).ljust(size, b"\0")).ok
    assert judge(files, amd.report().ljust(max(size, 4000), b"\0")).ok


@pytest.mark.parametrize(
    "data",
    [
        lambda report: (ANSWER + report).ljust(3999, b"\0"),
        lambda report: (ANSWER + report).ljust(3999, b"\0") + b"x",
        lambda report: report.ljust(3999, b"\0") + b"x",
        lambda report: struct.pack("<II", 0x16, 1184).ljust(32, b"\0") + report,
        lambda report: struct.pack("<II", 0, 1183).ljust(32, b"\0") + report,
        lambda report: ANSWER + report[:-1],
        lambda report: ANSWER + ANSWER + report,
        lambda report: ANSWER + report + table((VCEK, b"x")),
    ],
    ids=["another-size", "trailing", "trailing-a-report", "an-error", "another-length", "cut", "twice", "with-a-table"],
)
def test_what_is_no_answer_of_the_firmwares_is_malformed(judge, amd, key, data):
    verdict = judge({"vcek.der": key, "crl.der": amd.crl()}, data(amd.report()))
    assert [check.id for check in verdict.failed] == ["evidence.malformed"]


def thim(amd, key: bytes, **changes) -> bytes:
    """What Azure's service answers inside of a virtual machine."""
    chain = amd.ask.pem + amd.ark.pem
    answer = {"vcekCert": pem("CERTIFICATE", key).decode(), "tcbm": "DB18000000000004", "certificateChain": chain}
    return json.dumps(answer | changes).encode()


def test_the_answer_of_azures_service_is_taken_apart(judge, amd, key):
    assert judge({"thim.json": thim(amd, key), "crl.der": amd.crl()}).ok
    other = {"certificateChain": amd.vek(amd.extensions()).pem}
    verdict = judge({"thim.json": thim(amd, key, **other), "crl.der": amd.crl()})
    assert "snp.root.unpinned" in [check.id for check in verdict.failed]
    assert [(offer.kind) for offer in offers({"thim.json": thim(amd, key)})] == ["amd-chain", "vcek"]


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"vcekCert": 5}', b'{"vcekCert": "x"}', b" " * (1 << 18)])
def test_an_answer_of_azures_that_cannot_be_read_is_malformed(judge, amd, answer):
    verdict = judge({"thim.json": answer, "crl.der": amd.crl()})
    assert [check.id for check in verdict.failed] == ["collateral.malformed"]


@given(st.binary(max_size=4000) | st.binary(max_size=4000).map(ANSWER.__add__))
def test_no_bytes_upset_the_reader_of_tables(data):
    report, found = extended_report.split(data)
    assert report in data
    assert set(found) <= {"vcek.der", "vlek.der", "crl.der"}


@pytest.mark.parametrize("form", ["pem", "base64", "upper-case"])
def test_lists_of_intel_in_each_form(form):
    document = json.loads((TDX / "collateral.json").read_bytes())
    expected = read_collateral(json.dumps(document).encode())
    for name in ("root_ca_crl", "pck_crl"):
        der = bytes.fromhex(document[name])
        forms = {
            "pem": pem("X509 CRL", der).decode(),
            "base64": base64.b64encode(der).decode(),
            "upper-case": document[name].upper(),
        }
        document[name] = forms[form]
    found = read_collateral(json.dumps(document).encode())
    assert (found.root_crl, found.pck_crl) == (expected.root_crl, expected.pck_crl)


@pytest.mark.parametrize("text", ["", "xyz!", "é", "AAAA", "00"])
def test_lists_of_intel_that_are_damaged(text):
    document = json.loads((TDX / "collateral.json").read_bytes()) | {"pck_crl": text}
    with pytest.raises(MalformedCollateral):
        read_collateral(json.dumps(document).encode())


def test_optional_fields_of_intel_may_be_null():
    document = json.loads((TDX / "collateral.json").read_bytes()) | {"pck_certificate_chain": None, "more": 1}
    assert read_collateral(json.dumps(document).encode()).pck_chain == ()


def appraised(document: dict[str, object], revocation: str = "require") -> Verdict:
    """The verdict over a genuine quote with collateral of this form."""
    policy = policy_for("tdx", any_workload=True, revocation=revocation)  # type: ignore[arg-type]  # a mode
    files = {"collateral.json": json.dumps(document).encode()}
    at = datetime(2025, 7, 1, tzinfo=UTC)
    return appraise_files((TDX / "quote.bin").read_bytes(), files, policy, kind="tdx", at=at, expected=None)


@pytest.fixture
def document() -> dict[str, object]:
    found: dict[str, object] = json.loads((TDX / "collateral.json").read_bytes())
    return found


def test_statements_as_intels_libraries_hand_them_on(document):
    """Whole answers of Intel's service, each text with the NUL that ends it in C."""
    for name, key in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        signature = document.pop(f"{name}_signature")
        document[name] = f'{{"{key}":{document[name]},"signature":"{signature}"}}'
    for name in ("pck_crl", "root_ca_crl", "pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"):
        document[name] = f"{document[name]}\0"
    assert appraised(document).ok
    assert [offer.kind for offer in offers({"collateral.json": json.dumps(document).encode()})] == [
        "root-crl",
        "pck-crl",
        "tcb-info",
        "qe-identity",
    ]


@pytest.mark.parametrize("name", ["tcb_info_signature", "qe_identity_signature"])
def test_a_statement_without_a_signature_is_malformed(document, name):
    for gone in ({name: None}, {name: ""}):
        assert [check.id for check in appraised(document | gone).failed] == ["collateral.malformed"]
    del document[name]
    assert [check.id for check in appraised(document).failed] == ["collateral.malformed"]


@pytest.mark.parametrize("name", ["root_ca_crl", "pck_crl"])
def test_without_a_list_revocation_is_unknown_and_the_policy_decides(document, name):
    del document[name]
    assert [check.id for check in appraised(document).failed] == ["tdx.policy.revocation"]
    assert appraised(document, "prefer").ok
    assert appraised(document, "off").ok
    assert name.replace("_ca", "").replace("_", "-") not in [
        offer.kind for offer in offers({"collateral.json": json.dumps(document).encode()})
    ]


def test_a_list_that_is_there_and_empty_is_not_a_missing_one(document):
    for text in ("", " ", "\0"):
        verdict = appraised(document | {"root_ca_crl": text}, "off")
        assert [check.id for check in verdict.failed] == ["collateral.malformed"]
