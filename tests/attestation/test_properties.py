"""What holds of all inputs: a changed character refuses, and bytes of any kind meet typed errors only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx_attestation import (
    VENDOR_ANCHORS,
    AttestationError,
    appraise_files,
    endorse,
    load_policy,
    parse,
    policy_for,
    verify,
)
from enarx_attestation import x509 as reader
from enarx_attestation.intel_collateral import read_collateral
from enarx_attestation.intel_tcb import read_tcb_info

VECTORS = Path(__file__).parent / "vectors"
SNP = VECTORS / "snp/milan-v3-azure"
TDX = VECTORS / "tdx/phala-v4-uptodate"
SGX = VECTORS / "sgx/phala-nonserver-cfg-swhard"
SNP_AT = datetime(2026, 3, 1, tzinfo=UTC)
INTEL_AT = datetime(2025, 7, 1, tzinfo=UTC)
REPORT = (SNP / "report.bin").read_bytes()
VCEK = (SNP / "vcek.der").read_bytes()
QUOTES = {"sgx": (SGX / "quote.bin").read_bytes(), "tdx": (TDX / "quote.bin").read_bytes()}
COLLATERAL = {"sgx": (SGX / "collateral.json").read_bytes(), "tdx": (TDX / "collateral.json").read_bytes()}
ENDORSED = {kind: endorse(read_collateral(data), VENDOR_ANCHORS) for kind, data in COLLATERAL.items()}
CRL = (VECTORS / "snp/milan-v2-enarx-csr/crl_milan.der").read_bytes()
CHAIN = (SNP / "ca_chain.pem").read_bytes()

quick = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def snp_accepts(report: bytes, vcek: bytes) -> bool:
    policy = policy_for("snp", any_workload=True, revocation="off")
    files = {"vcek.der": vcek, "ca_chain.pem": CHAIN}
    return appraise_files(report, files, policy, kind="snp", at=SNP_AT, expected=None).ok


def intel_verifies(kind: str, quote: bytes) -> bool:
    try:
        return verify(parse(quote, kind), ENDORSED[kind], VENDOR_ANCHORS, INTEL_AT).verified
    except AttestationError:
        return False


def test_the_unchanged_inputs_are_accepted() -> None:
    assert snp_accepts(REPORT, VCEK)
    assert intel_verifies("sgx", QUOTES["sgx"])
    assert intel_verifies("tdx", QUOTES["tdx"])


@pytest.mark.parametrize("field", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize("kind", ["sgx", "tdx"])
@quick
@given(data=st.data())
def test_a_changed_character_of_a_statement_refuses(kind: str, field: str, data: st.DataObject) -> None:
    document = json.loads(COLLATERAL[kind])
    text = document[field]
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda c: c != text[place]))
    document[field] = text[:place] + character + text[place + 1 :]
    try:
        claims = verify(parse(QUOTES[kind]), read_collateral(json.dumps(document).encode()), VENDOR_ANCHORS, INTEL_AT)
    except AttestationError:
        return
    assert not claims.verified


PARSERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "snp": (REPORT, lambda data: parse(data, "snp")),
    "sgx": (QUOTES["sgx"], lambda data: parse(data, "sgx")),
    "tdx": (QUOTES["tdx"], lambda data: parse(data, "tdx")),
    "nil": (b'{"kind":"nil","package":"x"}', lambda data: parse(data, "nil")),
    "any": (REPORT, parse),
    "certificate": (VCEK, reader.read_certificate),
    "crl": (CRL, reader.read_crl),
    "pem": (CHAIN, reader.read_pem),
    "collateral": (COLLATERAL["tdx"], read_collateral),
}


@pytest.mark.parametrize("parser", PARSERS)
@quick
@given(data=st.data())
def test_bytes_of_any_kind_meet_typed_errors_only(parser: str, data: st.DataObject) -> None:
    genuine, read = PARSERS[parser]
    start = data.draw(st.integers(0, len(genuine)))
    end = data.draw(st.integers(start, min(len(genuine), start + 64)))
    garbage = genuine[:start] + data.draw(st.binary(max_size=64)) + genuine[end:]
    for candidate in (garbage, genuine[:start], genuine + garbage[start : start + 8]):
        with contextlib.suppress(AttestationError):
            read(candidate)


NESTED = b"[" * 60_000


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (read_collateral, b'{"x":' + NESTED),
        (read_tcb_info, b'{"version":2,"x":' + NESTED),
        (read_tcb_info, b'{"version":3,"x":' + NESTED),
        (read_tcb_info, b'{"version":2,"tcbLevels":["tcb"]}'),
        (lambda data: parse(data, "az-snp"), b'{"x":' + NESTED),
    ],
)
def test_documents_that_are_nested_too_deep(read: Callable[[bytes], object], document: bytes) -> None:
    with pytest.raises(AttestationError):
        read(document)


def test_a_time_in_another_zone_is_the_same_time() -> None:
    policy = policy_for("snp", any_workload=True, revocation="off")
    begins = datetime(2026, 2, 5, 1, 4, 33, tzinfo=UTC)
    for hours in (-12, 0, 12):
        at = begins.astimezone(timezone(timedelta(hours=hours)))
        before = at - timedelta(seconds=1)
        assert appraise_files(REPORT, {"vcek.der": VCEK}, policy, kind="snp", at=at, expected=None).ok
        assert not appraise_files(REPORT, {"vcek.der": VCEK}, policy, kind="snp", at=before, expected=None).ok


@quick
@given(data=st.data())
def test_damaged_endorsements_refuse_and_do_not_raise(data: st.DataObject) -> None:
    policy = load_policy({"sgx": {"any_workload": True}, "tdx": {"any_workload": True}})
    kind = data.draw(st.sampled_from(["sgx", "tdx"]))
    genuine = COLLATERAL[kind]
    place = data.draw(st.integers(0, len(genuine) - 1))
    damaged = genuine[:place] + data.draw(st.binary(min_size=1, max_size=4)) + genuine[place + 4 :]
    verdict = appraise_files(QUOTES[kind], {"collateral.json": damaged}, policy, kind=kind, at=INTEL_AT, expected=None)
    assert verdict.to_json()
