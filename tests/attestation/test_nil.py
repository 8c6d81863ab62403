"""A Keep without hardware protection is accepted by name only."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from enarx_attestation import (
    PURPOSE_TLS,
    VENDOR_ANCHORS,
    Binding,
    Claims,
    Collateral,
    InvalidArgument,
    MalformedEvidence,
    NilPolicy,
    Policy,
    PolicyError,
    UnknownKind,
    Verdict,
    appraise,
    legacy_report_data,
    load_policy,
    parse,
    report_data,
    verify,
)
from enarx_attestation.nil import NilClaims

AT = datetime(2026, 11, 24, tzinfo=UTC)
PACKAGE = "sha256:" + "ab" * 32
BINDING = Binding(purpose=PURPOSE_TLS, nonce=b"n" * 16, spki=b"key", package=PACKAGE, audience="steward")
DATA = report_data(purpose=PURPOSE_TLS, nonce=b"n" * 16, spki=b"key", package=PACKAGE, audience="steward")
DOCUMENT = f'{{"kind":"nil","package":"{PACKAGE}","report_data":"{DATA.hex()}"}}'.encode()
POLICY = Policy(nil=NilPolicy(packages=(PACKAGE,)))


def claims_of(document: bytes = DOCUMENT) -> Claims:
    return verify(parse(document), Collateral(), VENDOR_ANCHORS, AT)


def failed(verdict: Verdict) -> list[str]:
    return [check.id for check in verdict.failed]


def test_a_named_kind_with_the_expected_package_and_binding_is_accepted() -> None:
    verdict = appraise(claims_of(), POLICY, expected=BINDING)
    assert verdict.ok, verdict.failed
    assert not verdict.claims.hardware
    assert verdict.status == "Unprotected"
    assert set(verdict.to_builtins()) == {"ok", "kind", "status", "claims", "checks"}


@pytest.mark.parametrize(
    ("policy", "expected", "check"),
    [
        (Policy(), BINDING, "policy.kind"),
        (Policy(kvm=NilPolicy(any_workload=True)), BINDING, "policy.kind"),
        (Policy(nil=NilPolicy(packages=("sha256:" + "cd" * 32,))), BINDING, "nil.package"),
        (POLICY, bytes(64), "binding.report-data"),
        (
            POLICY,
            Binding(purpose="x", nonce=b"n" * 16, spki=b"key", package=PACKAGE, audience=""),
            "binding.report-data",
        ),
        (
            POLICY,
            Binding(purpose="", nonce=b"", spki=b"key", package=PACKAGE, audience="", form="enarx"),
            "binding.form",
        ),
    ],
)
def test_refused(policy: Policy, expected: Binding | bytes, check: str) -> None:
    verdict = appraise(claims_of(), policy, expected=expected)
    assert not verdict.ok
    assert check in failed(verdict)


def test_the_legacy_form_needs_its_switch() -> None:
    document = DOCUMENT.replace(DATA.hex().encode(), legacy_report_data(b"key", "nil").hex().encode())
    expected = Binding(purpose="", nonce=b"", spki=b"key", package=PACKAGE, audience="", form="enarx")
    assert failed(appraise(claims_of(document), POLICY, expected=expected)) == ["binding.form"]
    policy = Policy(nil=NilPolicy(packages=(PACKAGE,), legacy_binding=True))
    assert appraise(claims_of(document), policy, expected=expected).ok


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        DOCUMENT + b" ",
        DOCUMENT.replace(b":", b": ", 1),
        DOCUMENT.replace(b"}", b',"x":1}'),
        DOCUMENT.replace(b'"nil"', b'"snp"'),
        DOCUMENT.replace(b'{"kind":"nil"', b'{"kind":"nil","kind":"nil"'),
        DOCUMENT.replace(b"ab", b"AB"),
        DOCUMENT.replace(b"}", f',"image":"{PACKAGE}"}}'.encode()),
        b"\xff" * 64,
        b"[" * 1024,
        DOCUMENT.ljust(4096),
    ],
)
def test_malformed(document: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse(document, "nil")


def test_kvm_evidence_is_not_nil_evidence() -> None:
    with pytest.raises(MalformedEvidence):
        parse(DOCUMENT, "kvm")


def test_unknown_kinds() -> None:
    with pytest.raises(UnknownKind):
        parse(b"what is this")
    with pytest.raises(UnknownKind):
        parse(DOCUMENT, "pdp11")


def test_claims_that_were_not_verified_are_refused() -> None:
    made_up = NilClaims(
        kind="nil", hardware=False, status="", evidence_sha256="", report_data=DATA.hex(), package=PACKAGE, checks=()
    )
    assert "claims.verified" in failed(appraise(made_up, POLICY, expected=BINDING))


@pytest.mark.parametrize(
    "policy",
    [
        {"nil": {}},
        {"nil": {"packages": ["sha256:zz"]}},
        {"nil": {"any_workload": True, "packages": [PACKAGE]}},
        {"nil": {"any_workload": 1}},
        {"nil": {"any_workloads": True}},
        {"nill": {"any_workload": True}},
    ],
)
def test_policies_that_cannot_be_applied(policy: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        load_policy(policy)


def test_a_time_without_a_zone_is_an_error() -> None:
    with pytest.raises(InvalidArgument):
        verify(parse(DOCUMENT), Collateral(), VENDOR_ANCHORS, AT.replace(tzinfo=None))


def test_the_layout_of_the_report_data() -> None:
    fields = [b"tls-server", b"n" * 16, b"key", PACKAGE.encode(), b"steward"]
    joined = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    assert hashlib.sha512(b"wasm-tee/att/v1" + joined).digest() == DATA


@pytest.mark.parametrize(
    "change",
    [{"nonce": b"n" * 15}, {"spki": b""}, {"package": "ab"}, {"purpose": ""}, {"audience": "x" * 65_536}],
)
def test_report_data_outside_its_bounds(change: dict[str, object]) -> None:
    fields: dict[str, object] = {"purpose": "p", "nonce": b"n" * 16, "spki": b"k", "package": PACKAGE, "audience": ""}
    with pytest.raises(InvalidArgument):
        report_data(**{**fields, **change})  # type: ignore[arg-type]  # the fields are of mixed types
