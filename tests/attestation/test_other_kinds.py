"""Azure's virtual TPM, AWS Nitro and Arm CCA: the road is the same, the vectors are few."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from enarx_attestation import (
    VENDOR_ANCHORS,
    MalformedEvidence,
    PolicyError,
    Verdict,
    appraise_files,
    cbor,
    load_policy,
    parse,
)

VECTORS = Path(__file__).parent / "vectors"
AZURE = VECTORS / "snp/azure-vtpm-evidence-v1"
NITRO = VECTORS / "nitro/proper-2021/doc.cose"
CCA = VECTORS / "cca/tf-rmm-token"
AZURE_AT = datetime(2025, 2, 1, tzinfo=UTC)
NITRO_AT = datetime(2021, 9, 9, 10, 20, tzinfo=UTC)


def failed(verdict: Verdict) -> set[str]:
    return {check.id for check in verdict.failed} - {"claims.verified"}


def azure(evidence: bytes, section: dict[str, Any] | None = None, expected: bytes | None = b"challenge") -> Verdict:
    files = {"vcek.der": (AZURE / "vcek.der").read_bytes()}
    policy = load_policy({"az_snp": {"revocation": "off", **(section or {"any_workload": True})}})
    return appraise_files(evidence, files, policy, kind=None, at=AZURE_AT, expected=expected)


def azure_document() -> Any:
    return json.loads((AZURE / "evidence.json").read_bytes())


def test_azure_is_accepted_with_its_nonce() -> None:
    verdict = azure((AZURE / "evidence.json").read_bytes())
    assert verdict.ok, verdict.failed
    assert verdict.kind == "az-snp"


def test_azure_with_another_nonce_is_refused() -> None:
    assert failed(azure((AZURE / "evidence.json").read_bytes(), expected=b"another")) == {"binding.report-data"}


def test_azure_with_registers_that_were_not_quoted_is_refused() -> None:
    document = azure_document()
    document["tpm_quote"]["pcrs"][0] = "00" * 32
    assert failed(azure(json.dumps(document).encode())) == {"az-snp.tpm.registers"}


def test_azure_with_another_quote_is_refused() -> None:
    document = azure_document()
    message = bytearray.fromhex(document["tpm_quote"]["message"])
    message[-1] ^= 1
    document["tpm_quote"]["message"] = message.hex()
    assert failed(azure(json.dumps(document).encode())) == {"az-snp.tpm.signature", "az-snp.tpm.registers"}


def test_azure_registers_by_policy() -> None:
    evidence = (AZURE / "evidence.json").read_bytes()
    good = azure_document()["tpm_quote"]["pcrs"][4]
    parsed: Any = parse(evidence)
    paravisor = {"measurements": [parsed.report.measurement.hex()]}
    assert azure(evidence, {**paravisor, "pcrs": {"4": [good]}}).ok
    assert failed(azure(evidence, {**paravisor, "pcrs": {"4": ["00" * 32]}})) == {"az-snp.policy.registers"}


PARAVISOR = {"measurements": ["ab" * 48]}


@pytest.mark.parametrize(
    ("kind", "section", "named"),
    [
        # Any guest of SNP can make a key, have its report commit to that, and sign the registers that are wanted.
        pytest.param("az_snp", {"pcrs": {"4": ["00" * 32]}}, "measurements", id="registers-of-any-paravisor"),
        pytest.param("az_snp", {"any_workload": True, "pcrs": {"4": ["00" * 32]}}, "any_workload", id="azure-both"),
        pytest.param("az_snp", {**PARAVISOR, "pcrs": {"x": []}}, "pcrs", id="a-register-without-a-number"),
        pytest.param("nitro", {"pcrs": {"4": ["00" * 48]}}, "pcrs", id="neither-image-nor-signer"),
        pytest.param("nitro", {"any_workload": True, "pcrs": {"0": ["00" * 48]}}, "any_workload", id="nitro-both"),
        pytest.param("nitro", {"any_workload": True, "pcrs": {"8": ["00" * 48]}}, "any_workload", id="signer-and-any"),
    ],
)
def test_a_section_that_accepts_more_than_it_seems_to_is_an_error(kind: str, section: Any, named: str) -> None:
    with pytest.raises(PolicyError, match=f"`{named}`"):
        load_policy({kind: section})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_azure_documents_that_are_damaged_are_refused(data: st.DataObject) -> None:
    evidence = (AZURE / "evidence.json").read_bytes()
    vcek = evidence.index(b'"vcek"')
    place = data.draw(st.integers(0, vcek - 2))
    value = data.draw(st.integers(33, 126).filter(lambda value: value != evidence[place]))
    damaged = evidence[:place] + bytes([value]) + evidence[place + 1 :]
    files = {"vcek.der": (AZURE / "vcek.der").read_bytes()}
    policy = load_policy({"az_snp": {"any_workload": True, "revocation": "off"}})
    verdict = appraise_files(damaged, files, policy, kind="az-snp", at=AZURE_AT, expected=b"challenge")
    # Letter case of hexadecimal, unread fields and the alphabet of base64 carry no meaning.
    if verdict.ok:
        assert parse(damaged, "az-snp").kind == "az-snp"
        assert _meaning(damaged) == _meaning(evidence)


def _meaning(document: bytes) -> tuple[Any, ...]:
    evidence: Any = parse(document, "az-snp")
    quoted = [evidence.pcrs[index] for index in evidence.quote.selected]
    return evidence.report.raw, evidence.runtime, evidence.message, evidence.signature, quoted


def nitro(document: bytes, section: dict[str, Any], at: datetime = NITRO_AT) -> Verdict:
    policy = load_policy({"nitro": section})
    return appraise_files(document, {}, policy, kind="nitro", at=at, expected=None)


LAX = {"any_workload": True, "debug": "any", "maximum_age_seconds": 3600}


def test_nitro_is_accepted_in_its_window() -> None:
    assert nitro(NITRO.read_bytes(), LAX).ok
    assert parse(NITRO.read_bytes()).kind == "nitro"


@pytest.mark.parametrize(
    ("section", "at", "check"),
    [
        ({**LAX, "debug": "forbid"}, NITRO_AT, {"nitro.policy.debug"}),
        ({**LAX, "maximum_age_seconds": 1}, NITRO_AT, {"nitro.policy.age"}),
        (LAX, NITRO_AT.replace(hour=14), {"nitro.certificate.validity", "nitro.policy.age"}),
        ({**LAX, "pcrs": {"4": ["00" * 48]}}, NITRO_AT, {"nitro.policy.pcrs"}),
        ({**LAX, "any_workload": False, "pcrs": {"0": ["ab" * 48]}}, NITRO_AT, {"nitro.policy.workload"}),
    ],
)
def test_nitro_refused(section: dict[str, Any], at: datetime, check: set[str]) -> None:
    assert failed(nitro(NITRO.read_bytes(), section, at)) == check


def test_nitro_with_a_changed_signature_is_refused() -> None:
    document = (VECTORS / "nitro/tampered-signature/doc.cose").read_bytes()
    verdict = nitro(document, LAX)
    assert not verdict.ok


def cca(token: bytes, section: dict[str, Any], trusted: bool = True) -> Verdict:
    pem = (CCA / "platform.pub.pem").read_bytes()
    spki = load_pem_public_key(pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keys = frozenset({hashlib.sha256(spki).hexdigest()}) if trusted else frozenset()
    anchors = replace(VENDOR_ANCHORS, cca_platform_keys=keys)
    policy = load_policy({"cca": section})
    files = {"platform.pub.pem": pem}
    return appraise_files(token, files, policy, kind="cca", at=NITRO_AT, expected=b"\xab" * 64, anchors=anchors)


def test_cca() -> None:
    token = (CCA / "token.cbor").read_bytes()
    assert cca(token, {"any_workload": True}).ok
    assert cca(token, {"rims": ["00" * 32]}).ok
    assert failed(cca(token, {"rims": ["01" * 32]})) == {"cca.policy.workload"}
    assert failed(cca(token, {"any_workload": True}, trusted=False)) == {"cca.root.unpinned"}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=64))
def test_cbor_meets_typed_errors_only(data: bytes) -> None:
    try:
        cbor.decode(data)
    except cbor.CborError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x18\x17",
        b"\x19\x00\xff",
        b"\x5f\x41\x00\xff",
        b"\xa2\x01\x00\x01\x00",
        b"\x81" * 20,
        b"\x9a\xff\xff\xff\xff",
        b"\xf9\x00\x00",
        b"\x61\xff",
        b"\x00\x00",
        b"\xa1\x41\x00\x00",
    ],
)
def test_cbor_that_is_not_read(data: bytes) -> None:
    with pytest.raises(cbor.CborError):
        cbor.decode(data)


@pytest.mark.parametrize("kind", ["az-snp", "nitro", "cca"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.binary(max_size=200))
def test_garbage_is_malformed(kind: str, data: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse(data, kind)
