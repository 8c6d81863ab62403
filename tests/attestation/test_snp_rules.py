"""AMD's rules one by one, on reports of an AMD in miniature that differ from a good one in one thing."""

from __future__ import annotations

import base64
import struct
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import structs

from enarx_attestation import MalformedEvidence, Verdict, appraise, load_policy, parse, policy_for, revocation, verify
from enarx_attestation.anchors import Anchors, Authority
from enarx_attestation.snp import read_collateral
from enarx_attestation.x509 import public_key, read_certificate, read_crl, read_pem

if TYPE_CHECKING:
    from conftest import Amd

VECTORS = Path(__file__).parent / "vectors"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PSS_32 = padding.PSS(padding.MGF1(SHA256()), 32)
CHIP = bytes(range(64))


def judge(
    amd: Amd, report: bytes, vek: bytes, crls: tuple[bytes, ...] = (), *, chain: bytes | None = None, **section: Any
) -> Verdict:
    collateral = read_collateral(vek, crls=crls, chain=chain)
    policy = load_policy({"snp": {"any_workload": True, "revocation": "off", **section}})
    return appraise(verify(parse(report, "snp"), collateral, amd.anchors, NOW), policy, expected=None)


def failed(verdict: Verdict) -> set[str]:
    return {check.id for check in verdict.failed} - {"claims.verified"}


def test_a_good_report(amd: Amd) -> None:
    chain = (amd.ask.pem + amd.ark.pem).encode()
    assert judge(amd, amd.report(), amd.vek(amd.extensions()).der, chain=chain).ok
    assert judge(amd, amd.report(), amd.vek(amd.extensions()).der).ok


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_versions(amd: Amd, version: int) -> None:
    verdict = judge(amd, amd.report(version=version), amd.vek(amd.extensions()).der)
    assert verdict.ok, verdict.failed


@pytest.mark.parametrize("version", [0, 1, 6, 7])
def test_versions_that_are_not_known(amd: Amd, version: int) -> None:
    with pytest.raises(MalformedEvidence):
        parse(amd.report(version=version), "snp")


@pytest.mark.parametrize("size", [0, 1, 0x2A0, 0x49F, 0x4A1])
def test_sizes(amd: Amd, size: int) -> None:
    with pytest.raises(MalformedEvidence):
        parse((amd.report() + b"\0")[:size], "snp")


def test_mitigation_vectors_may_have_bits_that_nobody_knows_yet(amd: Amd) -> None:
    vek = amd.vek(amd.extensions()).der
    assert judge(amd, amd.report({0x1F8: b"\xff" * 16}, version=5), vek, required_mitigations=1 << 63).ok
    assert failed(judge(amd, amd.report({0x1F8: b"\xff" * 17}, version=5), vek)) == {"snp.report.reserved"}


FLAWS: dict[str, tuple[dict[int, bytes], set[str]]] = {
    "reserved 0x4C": ({0x4C: b"\1"}, {"snp.report.reserved"}),
    "reserved 0x18B": ({0x18B: b"\1"}, {"snp.report.reserved"}),
    "reserved 0x1EB": ({0x1EB: b"\1"}, {"snp.report.reserved"}),
    "reserved 0x1EF": ({0x1EF: b"\1"}, {"snp.report.reserved"}),
    "reserved tail": ({0x29F: b"\1"}, {"snp.report.reserved"}),
    "mitigations before version 5": ({0x1F8: b"\1"}, {"snp.report.reserved"}),
    "policy bit 17 clear": ({0x08: struct.pack("<Q", 0x1001F)}, {"snp.report.reserved"}),
    "policy bit 26 set": ({0x08: struct.pack("<Q", 0x403001F)}, {"snp.report.reserved"}),
    "another algorithm": ({0x34: b"\2"}, {"snp.report.algorithm"}),
    "no signing key": ({0x48: struct.pack("<I", 7 << 2)}, {"snp.report.signing-key", "snp.policy.signing-key"}),
    "a VLEK is named": ({0x48: struct.pack("<I", 1 << 2)}, {"snp.report.signing-key"}),
    "another line's processor": ({0x188: bytes([0x19, 0x11])}, {"snp.product"}),
    "an unknown processor": ({0x188: bytes([0x1B, 0x01])}, {"snp.product"}),
    "another chip": ({0x1A0: b"\xff"}, {"snp.chip-id"}),
    "a masked chip": ({0x1A0: bytes(64)}, set()),
    "lower REPORTED_TCB": ({0x180: bytes([3])}, {"snp.tcb.reported"}),
    "a reserved byte of REPORTED_TCB": ({0x182: b"\1"}, {"snp.tcb.reserved"}),
    "a reserved byte of CURRENT_TCB": ({0x3A: b"\1"}, {"snp.tcb.reserved"}),
    "a reserved byte of COMMITTED_TCB": ({0x1E5: b"\1"}, {"snp.tcb.reserved"}),
    "a reserved byte of LAUNCH_TCB": ({0x1F3: b"\x80"}, {"snp.tcb.reserved"}),
    "CURRENT_TCB below REPORTED_TCB": ({0x38: bytes([3])}, {"snp.tcb.order"}),
    "COMMITTED_TCB below REPORTED_TCB": ({0x1E0: bytes([3])}, set()),
    "COMMITTED_TCB above CURRENT_TCB": ({0x1E0: bytes([5])}, {"snp.tcb.order"}),
    "debug": ({0x08: struct.pack("<Q", 0xB001F)}, {"snp.policy.guest"}),
    "migration": ({0x08: struct.pack("<Q", 0x7001F)}, {"snp.policy.guest"}),
    "VMPL 1": ({0x30: b"\1"}, {"snp.policy.vmpl"}),
    "a newer ABI than the firmware's": ({0x08: struct.pack("<Q", 0x30200)}, {"snp.policy.abi"}),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaws_of_reports(amd: Amd, flaw: str) -> None:
    fields, checks = FLAWS[flaw]
    verdict = judge(amd, amd.report(fields), amd.vek(amd.extensions()).der)
    assert failed(verdict) == checks
    assert verdict.ok == (not checks)


def _veks(amd: Amd) -> dict[str, tuple[Callable[[], bytes], set[str]]]:
    plain = amd.extensions()
    wrapped = amd.extensions(hwid=b"\x04\x40" + CHIP)
    return {
        "wrapped HWID": (lambda: amd.vek(wrapped).der, set()),
        "short HWID": (lambda: amd.vek(amd.extensions(hwid=CHIP[:8])).der, {"snp.chip-id"}),
        "HWID of 9 bytes": (lambda: amd.vek(amd.extensions(hwid=CHIP[:9])).der, {"snp.vek.certificate"}),
        "no HWID": (lambda: amd.vek(amd.extensions(hwid=None)).der, {"snp.vek.certificate"}),
        "HWID and CSP_ID": (lambda: amd.vek(amd.extensions(csp="x")).der, {"snp.vek.certificate"}),
        "another TCB": (
            lambda: amd.vek(amd.extensions({"bl": 4, "tee": 0, "snp": 24, "ucode": 1})).der,
            {"snp.tcb.reported"},
        ),
        "less TCB": (lambda: amd.vek(amd.extensions({"bl": 4, "tee": 0, "snp": 24})).der, {"snp.tcb.reported"}),
        "more TCB": (
            lambda: amd.vek(amd.extensions({"bl": 4, "tee": 0, "snp": 24, "ucode": 219, "spl4": 1})).der,
            {"snp.tcb.reported"},
        ),
        "another product": (lambda: amd.vek(amd.extensions(product="Genoa-B0")).der, {"snp.product"}),
        "unknown product": (lambda: amd.vek(amd.extensions(product="Rome")).der, {"snp.product"}),
        "signed by the root": (lambda: amd.vek(plain, issuer=amd.ark).der, {"snp.root.unpinned"}),
        "signed by the ASVK": (lambda: amd.vek(plain, issuer=amd.asvk).der, {"snp.root.unpinned"}),
        "expired": (lambda: amd.vek(plain, days=(-20, -1)).der, {"snp.certificate.validity"}),
        "not yet valid": (lambda: amd.vek(plain, days=(1, 20)).der, {"snp.certificate.validity"}),
        "SHA-256": (lambda: amd.vek(plain, digest=SHA256(), pss=PSS_32).der, {"snp.vek.signature"}),
        "PKCS 1.5": (lambda: amd.vek(plain, pss=padding.PKCS1v15()).der, {"snp.vek.signature"}),
        "P-256 key": (lambda: amd.vek(plain, key=ec.generate_private_key(ec.SECP256R1())).der, {"snp.vek.certificate"}),
        "critical": (lambda: amd.vek(plain, critical=True).der, {"snp.vek.certificate"}),
        "another role": (lambda: amd.vek(plain, role="ROOT", issuer=amd.ask).der, {"snp.vek.certificate"}),
        "another key": (
            lambda: amd.vek(plain, key=ec.generate_private_key(ec.SECP384R1())).der,
            {"snp.report.signature"},
        ),
    }


@pytest.mark.parametrize("flaw", range(20))
def test_flaws_of_endorsement_keys(amd: Amd, flaw: int) -> None:
    case, (make, checks) = list(_veks(amd).items())[flaw]
    verdict = judge(amd, amd.report(), make())
    assert verdict.ok == (not checks), case
    assert checks <= failed(verdict), case


def test_vlek(amd: Amd) -> None:
    report = amd.report({0x48: struct.pack("<I", 1 << 2)})
    vlek = amd.vek(amd.extensions(hwid=None, csp="aws", product="Milan"), role="VLEK").der
    assert judge(amd, report, vlek).ok
    assert judge(amd, report, vlek, csp_ids=["aws"]).ok
    assert failed(judge(amd, report, vlek, csp_ids=["azure"])) == {"snp.policy.platform-id"}
    assert failed(judge(amd, report, vlek, signing_keys=["VCEK"])) == {"snp.policy.signing-key"}


def test_turin(turin: Amd) -> None:
    tcb = bytes([1, 2, 0, 4, 0, 0, 0, 81])
    fields = {
        0x188: bytes([0x1A, 0x02, 0x01]),
        0x1A0: CHIP[:8] + bytes(56),
        **dict.fromkeys((0x38, 0x180, 0x1E0, 0x1F0), tcb),
    }
    parts = {"fmc": 1, "bl": 2, "tee": 0, "snp": 4, "ucode": 81}
    vek = turin.vek(turin.extensions(parts, hwid=CHIP[:8], product="Turin")).der
    assert judge(turin, turin.report(fields), vek).ok
    assert judge(turin, turin.report(fields), vek, minimum_tcb={"turin": {"fmc": 1}}).ok
    assert failed(judge(turin, turin.report({**fields, 0x1A8: b"\1"}), vek)) == {"snp.chip-id"}
    assert failed(judge(turin, turin.report({**fields, 0x1F4: b"\1"}), vek)) == {"snp.tcb.reserved"}
    swapped = turin.vek(turin.extensions({**parts, "fmc": 2, "bl": 1}, hwid=CHIP[:8], product="Turin")).der
    assert failed(judge(turin, turin.report(fields), swapped)) == {"snp.tcb.reported"}


def test_models_of_one_line(amd: Amd) -> None:
    from enarx_attestation.amd_products import line_of_cpu, line_of_product

    lines = [
        (0x19, 0x01, "milan"),
        (0x19, 0x11, "genoa"),
        (0x19, 0xA0, "genoa"),
        (0x1A, 0x02, "turin"),
        (0x17, 0x31, None),
    ]
    for family, model, line in lines:
        assert line_of_cpu(family, model) == line
    assert line_of_product("Siena") == line_of_product("Bergamo-A0") == line_of_product("Genoa-B1") == "genoa"


def test_the_minimum_applies_to_what_is_committed(amd: Amd) -> None:
    report, vek = amd.report({0x1E0: bytes([3])}), amd.vek(amd.extensions()).der
    assert judge(amd, report, vek, minimum_tcb={"milan": {"bl": 3}}).ok
    assert failed(judge(amd, report, vek, minimum_tcb={"milan": {"bl": 4}})) == {"snp.policy.tcb"}
    assert failed(judge(amd, report, vek, provisional_firmware="forbid")) == {"snp.policy.provisional"}


def test_the_abi_has_an_upper_bound_where_the_policy_gives_one(amd: Amd) -> None:
    report, vek = amd.report(), amd.vek(amd.extensions()).der
    assert judge(amd, report, vek, minimum_abi="0.31", abi_below="0.32").ok
    assert failed(judge(amd, report, vek, abi_below="0.31")) == {"snp.policy.abi"}


def test_revocation(amd: Amd) -> None:
    report, vek = amd.report(), amd.vek(amd.extensions()).der
    good, bad = amd.crl(), amd.crl(amd.ask.certificate.serial_number)
    stale, forged = amd.crl(days=(-9, -1)), amd.crl(issuer=amd.ask)
    for mode, crls, checks in [
        ("require", (good,), set()),
        ("require", (), {"snp.policy.revocation"}),
        ("require", (stale,), {"snp.policy.revocation"}),
        ("require", (forged,), {"snp.policy.revocation"}),
        ("prefer", (stale,), set()),
        ("prefer", (forged,), {"snp.policy.revocation"}),
        ("prefer", (stale, forged), {"snp.policy.revocation"}),
        ("prefer", (good, forged), set()),
        ("prefer", (), set()),
        ("off", (forged,), set()),
        ("off", (), set()),
        ("require", (bad,), {"snp.certificate.revoked", "snp.policy.revocation"}),
        ("prefer", (good, bad), {"snp.certificate.revoked", "snp.policy.revocation"}),
        ("off", (bad,), {"snp.certificate.revoked", "snp.policy.revocation"}),
    ]:
        assert failed(judge(amd, report, vek, crls, revocation=mode)) == checks, (mode, checks)


PARTIAL: dict[str, x509.ExtensionType] = {
    "a delta": x509.DeltaCRLIndicator(1),
    "of some reasons": x509.IssuingDistributionPoint(
        None, None, False, False, frozenset({x509.ReasonFlags.key_compromise}), False, False
    ),
}


@pytest.mark.parametrize("part", PARTIAL)
def test_a_list_that_does_not_name_all_revocations_is_not_taken(amd: Amd, part: str) -> None:
    one = amd.crl_with(PARTIAL[part])
    report, vek = amd.report(), amd.vek(amd.extensions()).der
    assert failed(judge(amd, report, vek, (one,), revocation="prefer")) == {"snp.policy.revocation"}
    assert judge(amd, report, vek, (one, amd.crl()), revocation="require").ok


def test_claims_do_not_outlive_what_supports_them(amd: Amd) -> None:
    report, vek = amd.report(), amd.vek(amd.extensions(), days=(-30, 400)).der
    assert judge(amd, report, vek).claims.valid_until == NOW + timedelta(days=400)
    assert judge(amd, report, vek, (amd.crl(),)).claims.valid_until == NOW + timedelta(days=30)
    assert judge(amd, report, vek, (amd.crl(days=(-9, -1)),)).claims.valid_until == NOW + timedelta(days=400)


def test_the_intermediate_that_amd_revoked() -> None:
    folder = VECTORS / "snp/genoa-revoked-ask"
    current, root = read_pem((folder / "ca_chain.pem").read_bytes())
    old = read_certificate((folder / "ask_0x20001.der").read_bytes())
    key = public_key(root)
    assert key is not None
    lists = revocation.authentic(
        Authority(root, key), [read_crl((folder / "crl_genoa_2022.der").read_bytes())], "rsa-pss-sha384"
    )
    at = datetime(2023, 1, 1, tzinfo=UTC)
    assert revocation.state([old], lists, at) == "revoked"
    assert revocation.state([current], lists, at) == "good"
    assert revocation.state([current], lists, at.replace(year=2024)) == "stale"


def test_an_intermediate_that_was_replaced_under_its_name(amd: Amd) -> None:
    old = amd.anchor.vcek_issuers[0]
    other = type(amd)("milan")  # the same keys, other certificates
    stranger = structs.replace(old, certificate=other.anchor.vcek_issuers[0].certificate, key=amd.anchor.ark.key)
    anchor = structs.replace(amd.anchor, vcek_issuers=(stranger, old))
    collateral = read_collateral(amd.vek(amd.extensions()).der)
    claims = verify(parse(amd.report(), "snp"), collateral, Anchors(amd=(anchor,)), NOW)
    assert claims.verified


def test_a_chain_with_a_stranger(amd: Amd, turin: Amd) -> None:
    chain = (amd.ask.pem + amd.ark.pem + turin.ark.pem).encode()
    verdict = judge(amd, amd.report(), amd.vek(amd.extensions()).der, chain=chain)
    assert failed(verdict) == {"snp.root.unpinned"}


def test_a_chain_that_begins_with_the_endorsement_key_itself(amd: Amd) -> None:
    vek, other = amd.vek(amd.extensions()), amd.vek(amd.extensions())
    issuers = amd.ask.pem + amd.ark.pem
    assert judge(amd, amd.report(), vek.der, chain=(vek.pem + issuers).encode()).ok
    assert failed(judge(amd, amd.report(), vek.der, chain=(other.pem + issuers).encode())) == {"snp.root.unpinned"}


def test_a_signature_with_high_bytes_is_refused(amd: Amd) -> None:
    report = bytearray(amd.report())
    report[0x2A0 + 60] = 1
    assert failed(judge(amd, bytes(report), amd.vek(amd.extensions()).der)) == {"snp.report.signature"}


def test_measurements_and_signers(amd: Amd) -> None:
    fields = {0x90: b"\xaa" * 48, 0xE0: b"\xbb" * 48, 0x110: b"\xcc" * 48}
    report, vek = amd.report({**fields, 0x48: b"\1"}), amd.vek(amd.extensions()).der

    def check(report: bytes, **section: Any) -> bool:
        return judge(amd, report, vek, any_workload=False, **section).ok

    assert check(report, measurements=["aa" * 48])
    assert check(report, measurements=["aa" * 48], id_keys=["bb" * 48], author_keys=["cc" * 48])
    assert check(report, author_keys=["cc" * 48])
    assert not check(report, measurements=["ab" * 48])
    assert not check(report, measurements=["aa" * 48], id_keys=["bc" * 48])
    assert not check(report, author_keys=["cd" * 48])
    assert not check(amd.report(fields), author_keys=["cc" * 48])
    assert not check(report, measurements=["aa" * 48], deny_id_keys=["bb" * 48])


def test_pem_with_something_else_is_not_read() -> None:
    from enarx_attestation import MalformedCollateral

    body = "\n".join(textwrap.wrap(base64.b64encode(b"x" * 80).decode(), 64))
    for text in (
        "",
        f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----",
    ):
        with pytest.raises(MalformedCollateral):
            read_pem(text.encode())


def test_policies_by_command_line() -> None:
    assert policy_for("snp", any_workload=True, revocation="prefer").snp is not None
    assert policy_for("snp", {"snp": {"measurements": ["aa" * 48]}}).snp is not None


def test_anchors_are_chains(amd: Amd, turin: Amd) -> None:
    from enarx_attestation import MalformedCollateral
    from enarx_attestation.anchors import amd_anchor, root_anchor

    with pytest.raises(MalformedCollateral):
        amd_anchor("milan", amd.ark.der, vcek_issuers=(turin.ask.der,), vlek_issuers=())
    with pytest.raises(MalformedCollateral):
        amd_anchor("milan", amd.ask.der, vcek_issuers=(), vlek_issuers=())
    with pytest.raises(MalformedCollateral):
        root_anchor(amd.ark.der, "ecdsa-sha256")
    with pytest.raises(MalformedCollateral):
        root_anchor(amd.ark.der + b"\0", "rsa-pss-sha384")
