"""What evidence is bound to, sentence by sentence of docs/attester.md, for every kind."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from enarx_attestation import (
    KINDS,
    VENDOR_ANCHORS,
    Anchors,
    Binding,
    Claims,
    Collateral,
    InvalidArgument,
    Verdict,
    appraise,
    endorse,
    legacy_report_data,
    load_endorsements,
    load_policy,
    parse,
    report_data,
    verify,
)
from enarx_attestation.cca import CcaEvidence
from enarx_attestation.intel_collateral import read_collateral
from enarx_attestation.nitro import NitroEvidence
from enarx_attestation.snp import read_collateral as read_snp_collateral

if TYPE_CHECKING:
    from conftest import Amd, Intel

VECTORS = Path(__file__).parent / "vectors"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIGEST = "a1" * 32
PACKAGE = f"sha256:{DIGEST}"
FIELDS: dict[str, Any] = {
    "purpose": "tls-server",
    "nonce": b"n" * 32,
    "spki": b"key",
    "package": PACKAGE,
    "audience": "a",
}
EXPECTED = Binding(**FIELDS)
LEGACY = Binding(**FIELDS, form="enarx")
OTHERWISE: list[dict[str, Any]] = [
    {"nonce": b"N" * 32},
    {"spki": b"another key"},
    {"package": f"sha256:{'b2' * 32}"},
    {"audience": "another"},
    {"purpose": "tls-client"},
]

LAX: dict[str, dict[str, Any]] = {
    "snp": {"revocation": "off"},
    "az-snp": {"revocation": "off"},
    "nitro": {"debug": "any", "maximum_age_seconds": 3600},
    "cca": {"lifecycle": "any"},
}


def recorded(kind: str) -> Claims:
    """Claims of a real vector."""
    if kind == "az-snp":
        place = VECTORS / "snp/azure-vtpm-evidence-v1"
        data, at, files = (place / "evidence.json").read_bytes(), datetime(2025, 2, 1, tzinfo=UTC), ["vcek.der"]
    elif kind == "nitro":
        place = VECTORS / "nitro/proper-2021"
        data, at, files = (place / "doc.cose").read_bytes(), datetime(2021, 9, 9, 10, 20, tzinfo=UTC), []
    else:
        place = VECTORS / "cca/tf-rmm-token"
        data, at, files = (place / "token.cbor").read_bytes(), NOW, ["platform.pub.pem"]
    evidence = parse(data, kind)
    collateral = load_endorsements(kind, {name: (place / name).read_bytes() for name in files}, evidence)
    trusted = getattr(collateral, "platform_key_sha256", None)
    anchors = replace(VENDOR_ANCHORS, cca_platform_keys=frozenset({trusted})) if trusted else VENDOR_ANCHORS
    return verify(evidence, collateral, anchors, at)


def made(kind: str, amd: Amd, intel: Intel, data: bytes = bytes(64), fixed: bytes = b"") -> Claims:
    """Claims of evidence with this report data, and these bytes in the field that is fixed at launch."""
    collateral: Collateral
    match kind:
        case "nil" | "kvm":
            document = f'{{"kind":"{kind}","package":"{PACKAGE}","report_data":"{data.hex()}"}}'
            return verify(parse(document.encode(), kind), Collateral(), Anchors(), NOW)
        case "snp":
            report = amd.report({0x50: data, 0xC0: fixed.ljust(32, b"\0")})
            collateral = read_snp_collateral(amd.vek(amd.extensions()).der)
            return verify(parse(report, kind), collateral, amd.anchors, NOW)
        case "sgx":
            body = bytearray(intel.enclave(report_data=data))
            body[192:256] = fixed.ljust(64, b"\0")
        case "tdx":
            body = bytearray(intel.domain())
            body[520:584], body[184:232] = data, fixed.ljust(48, b"\0")
        case _:
            return replace(recorded(kind), report_data=data.hex())
    collateral = endorse(read_collateral(intel.collateral(kind.upper())), intel.anchors)
    return verify(parse(intel.quote(kind.upper(), body=bytes(body)), kind), collateral, intel.anchors, NOW)


def judge(claims: Claims, expected: Binding | bytes | None, **section: Any) -> Verdict:
    table = {"any_workload": True, **LAX.get(claims.kind, {}), **section}
    return appraise(claims, load_policy({claims.kind.replace("-", "_"): table}), expected=expected)


def failed(verdict: Verdict) -> list[str]:
    return [check.id for check in verdict.failed]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_bound_to_purpose_nonce_key_package_and_audience(kind: str, amd: Amd, intel: Intel) -> None:
    claims = made(kind, amd, intel, report_data(**FIELDS))
    assert failed(judge(claims, EXPECTED)) == []
    for other in OTHERWISE:
        assert "binding.report-data" in failed(judge(claims, replace(EXPECTED, **other)))
    assert failed(judge(made(kind, amd, intel), EXPECTED)) == ["binding.report-data"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_the_report_data_is_not_enough(kind: str, amd: Amd, intel: Intel) -> None:
    data = report_data(**FIELDS)
    for wrong in (data[:32] + bytes(32), bytes(32) + data[32:], data[:63] + bytes([data[63] ^ 1])):
        assert failed(judge(made(kind, amd, intel, wrong), EXPECTED)) == ["binding.report-data"]


@pytest.mark.parametrize("kind", ["az-snp", "nitro", "cca"])
def test_a_field_of_another_length_is_not_cut_or_filled(kind: str) -> None:
    for data in (report_data(**FIELDS)[:63], report_data(**FIELDS) + b"\0", b""):
        claims = replace(recorded(kind), report_data=data.hex())
        assert failed(judge(claims, EXPECTED)) == ["binding.report-data"]


def test_where_the_64_bytes_stand_in_the_other_kinds() -> None:
    azure, nitro, cca = (recorded(kind) for kind in ("az-snp", "nitro", "cca"))
    assert bytes.fromhex(azure.report_data) == b"challenge"  # the TPM's quote, extraData
    document = parse((VECTORS / "nitro/proper-2021/doc.cose").read_bytes(), "nitro")
    assert isinstance(document, NitroEvidence)
    assert bytes.fromhex(nitro.report_data) == (document.document.user_data or b"")
    token = parse((VECTORS / "cca/tf-rmm-token/token.cbor").read_bytes(), "cca")
    assert isinstance(token, CcaEvidence)
    assert bytes.fromhex(cca.report_data) == token.realm_claims[10]
    assert len(token.realm_claims[10]) == 64


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("nil", "sha256"), ("kvm", "sha256"), ("sgx", "sha256"), ("snp", "sha384")],
)
def test_enarxs_form_is_the_hash_of_the_key_behind_its_switch(
    kind: str, algorithm: str, amd: Amd, intel: Intel
) -> None:
    data = hashlib.new(algorithm, b"key").digest().ljust(64, b"\0")
    assert legacy_report_data(b"key", kind) == data
    claims = made(kind, amd, intel, data)
    assert failed(judge(claims, LEGACY, legacy_binding=True)) == []
    assert failed(judge(claims, LEGACY)) == ["binding.form"]
    assert failed(judge(claims, EXPECTED, legacy_binding=True)) == ["binding.report-data"]
    other = replace(LEGACY, spki=b"another key")
    assert failed(judge(claims, other, legacy_binding=True)) == ["binding.report-data"]
    filled = made(kind, amd, intel, data[:-1] + b"\1")
    assert failed(judge(filled, LEGACY, legacy_binding=True)) == ["binding.report-data"]


@pytest.mark.parametrize("kind", ["az-snp", "nitro", "cca"])
def test_enarx_has_no_form_for_the_other_kinds(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="no legacy binding"):
        judge(recorded(kind), LEGACY, legacy_binding=True)


@pytest.mark.parametrize("kind", ["snp", "tdx", "sgx"])
def test_the_package_that_was_fixed_at_launch(kind: str, amd: Amd, intel: Intel) -> None:
    """HOST_DATA has 32 bytes, MRCONFIGID 48, CONFIGID 64: the digest, then zeros."""
    data, digest = report_data(**FIELDS), bytes.fromhex(DIGEST)
    launched = made(kind, amd, intel, data, digest)
    assert launched.launch_package == PACKAGE
    assert failed(judge(launched, EXPECTED, measured_package=True)) == []
    assert failed(judge(launched, data, measured_package=True, packages=[PACKAGE])) == []
    other = made(kind, amd, intel, data, bytes.fromhex("b2" * 32))
    assert failed(judge(other, EXPECTED, measured_package=True)) == ["binding.launch-package"]
    assert failed(judge(other, EXPECTED)) == []
    assert failed(judge(other, EXPECTED, measured_package=True, packages=[PACKAGE])) == [
        "binding.launch-package",
        "binding.packages",
    ]
    unfilled = made(kind, amd, intel, data)
    assert failed(judge(unfilled, EXPECTED, measured_package=True)) == ["binding.launch-package"]


@pytest.mark.parametrize("kind", ["tdx", "sgx"])
def test_a_launch_field_with_more_than_a_digest_names_no_package(kind: str, amd: Amd, intel: Intel) -> None:
    claims = made(kind, amd, intel, report_data(**FIELDS), bytes.fromhex(DIGEST) + b"\1")
    assert claims.launch_package is None
    assert failed(judge(claims, EXPECTED, measured_package=True)) == ["binding.launch-package"]


@pytest.mark.parametrize("kind", ["nil", "kvm", "az-snp", "nitro", "cca"])
def test_kinds_without_a_launch_field_measure_no_package(kind: str, amd: Amd, intel: Intel) -> None:
    claims = made(kind, amd, intel, report_data(**FIELDS))
    assert "binding.launch-package" in failed(judge(claims, EXPECTED, measured_package=True))
