"""Every field of the sections for hardware, one by one: a value that fits the evidence, and one that refuses it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from enarx_attestation import Verdict, appraise, load_policy, parse, verify
from enarx_attestation.intel_collateral import read_collateral as read_intel_collateral
from enarx_attestation.intel_policy import IntelPolicy, SgxPolicy, TdxPolicy
from enarx_attestation.section import Section
from enarx_attestation.snp import read_collateral
from enarx_attestation.snp_policy import GuestPolicy, PlatformInfo, SnpPolicy

if TYPE_CHECKING:
    from conftest import Amd, Intel

NOW = datetime(2026, 6, 1, tzinfo=UTC)
Row = tuple[object, object, str]
"""A value that accepts, one that refuses, and the check that says so."""

EVERY_KIND = set(Section.__struct_fields__)  # test_binding.py, and `any_workload` in each test
WITH_LISTS = {"revocation"}  # test_snp_rules.py and test_intel_rules.py
A, B, C, D, E, F = ("aa" * 48, "bb" * 48, "cc" * 48, "dd" * 48, "ee" * 48, "ff" * 48)
OTHER = "01" * 48

# SEV-SNP ABI, table 9 and table 24.
GUEST_POLICY = {"smt": 16, "migrate_ma": 18, "debug": 19, "single_socket": 20, "cxl": 21, "aes_256_xts": 22}
GUEST_POLICY |= {"rapl_disabled": 23, "ciphertext_hiding": 24, "page_swap_disabled": 25}
PLATFORM_INFO = {"smt": 0, "tsme": 1, "ecc": 2, "rapl_disabled": 3, "ciphertext_hiding": 4}
PLATFORM_INFO |= {"alias_check_complete": 5, "tio": 7}
# Intel SDM volume 3D, section 35.7.1; Intel TDX Module ABI, section 3.4.1.
SGX_ATTRIBUTES = {"debug": 1, "provision_key": 4, "einittoken_key": 5, "cet": 6, "kss": 7, "aex_notify": 10}
TD_ATTRIBUTES = {"icssd": 16, "lass": 27, "sept_ve_disable": 28, "migratable": 29, "pks": 30, "kl": 31}
TD_ATTRIBUTES |= {"tpa": 62, "perfmon": 63}

SNP: dict[str, Row] = {
    "measurements": ([A], [OTHER], "workload"),
    "deny_measurements": ([OTHER], [A], "denied"),
    "id_keys": ([B], [OTHER], "workload"),
    "deny_id_keys": ([OTHER], [B], "denied"),
    "author_keys": ([C], [OTHER], "workload"),
    "deny_author_keys": ([OTHER], [C], "denied"),
    "host_data": ([D[:64]], [OTHER[:64]], "identity"),
    "family_ids": ([E[:32]], [OTHER[:32]], "identity"),
    "image_ids": ([F[:32]], [OTHER[:32]], "identity"),
    "chip_ids": ([bytes(range(64)).hex()], [(OTHER * 2)[:128]], "platform-id"),
    "csp_ids": ([], ["aws"], "platform-id"),
    "report_versions": ([5], [2, 3, 4], "version"),
    "signing_keys": (["VCEK"], ["VLEK"], "signing-key"),
    "vmpl": ([1], [0, 2, 3], "vmpl"),
    "minimum_abi": ("0.31", "0.32", "abi"),
    "abi_below": ("0.32", "0.31", "abi"),
    "minimum_firmware": ("1.55.29", "1.55.30", "firmware"),
    "minimum_tcb": ({"milan": {"snp": 24}}, {"milan": {"snp": 25}}, "tcb"),
    "minimum_launch_tcb": ({"milan": {"ucode": 200}}, {"milan": {"ucode": 201}}, "launch-tcb"),
    "minimum_guest_svn": (5, 6, "guest-svn"),
    "provisional_firmware": ("any", "forbid", "provisional"),
    "required_mitigations": (0b01, 0b10, "mitigations"),
}
INTEL: dict[str, Row] = {
    "accept_statuses": (["OutOfDate"], ["UpToDate"], "status"),
    "allow_advisories": (["INTEL-SA-01036"], ["INTEL-SA-00615"], "advisories"),
    "deny_advisories": (["INTEL-SA-00615"], ["INTEL-SA-01036"], "advisories"),
    "platform_grace_days": (152, 150, "status"),
    "qe_grace_days": (600, 1, "status"),
    "minimum_evaluation_number": (18, 19, "evaluation"),
    "maximum_collateral_age_days": (12, 11, "collateral-age"),
    "fmspcs": (["90c06f000000"], [OTHER[:12]], "platform-id"),
    "ppids": ([b"p".hex() * 16], [OTHER[:32]], "platform-id"),
    "platform_instance_ids": ([b"i".hex() * 16], [OTHER[:32]], "platform-id"),
    "sgx_types": (["scalable"], ["standard", "scalable-with-integrity"], "platform"),
    "dynamic_platform": ("require", "forbid", "platform"),
    "cached_keys": ("forbid", "require", "platform"),
    "smt": ("require", "forbid", "platform"),
}
SGX: dict[str, Row] = {
    "mrenclaves": (["01" * 32], ["03" * 32], "workload"),
    "deny_mrenclaves": (["03" * 32], ["01" * 32], "denied"),
    "mrsigners": (["02" * 32], ["03" * 32], "workload"),
    "deny_mrsigners": (["03" * 32], ["02" * 32], "denied"),
    "isv_prod_ids": ([7], [8], "identity"),
    "minimum_isv_svn": (3, 4, "identity"),
    "isv_ext_prod_ids": ([A[:32]], [OTHER[:32]], "identity"),
    "isv_family_ids": ([B[:32]], [OTHER[:32]], "identity"),
    "config_ids": ([(C * 2)[:128]], [(OTHER * 2)[:128]], "identity"),
    "minimum_config_svn": (9, 10, "identity"),
    "misc_select": ([D[:8]], [OTHER[:8]], "identity"),
}
TDX: dict[str, Row] = {
    "mrtds": ([A], [OTHER], "workload"),
    "deny_mrtds": ([OTHER], [A], "denied"),
    "rtmr0": (["10" * 48], [OTHER], "measurement"),
    "rtmr1": (["11" * 48], [OTHER], "measurement"),
    "rtmr2": (["12" * 48], [OTHER], "measurement"),
    "rtmr3": (["13" * 48], [OTHER], "measurement"),
    "mrseams": ([B], [OTHER], "measurement"),
    "mrconfigids": ([C], [OTHER], "measurement"),
    "mrowners": ([D], [OTHER], "measurement"),
    "mrownerconfigs": ([E], [OTHER], "measurement"),
    "xfams": (["e702060000000000"], ["e718060000000000"], "xfam"),
    "debug": ("any", "forbid", "debug"),
    "service_td": ("any", "forbid", "service-td"),
    "unknown_attributes": ("any", "forbid", "attributes"),
}
OUTDATED = [2, 3, 2, 2, 4, 1, 0, 5, *[0] * 8]
MARKED = {"debug": {120: b"\1"}, "service_td": {600: b"\1"}, "unknown_attributes": {125: b"\1"}}
"""What has to stand in a domain's report for the default to refuse it."""


def failed(verdict: Verdict) -> set[str]:
    return {check.id.partition(".policy.")[2] for check in verdict.failed}


def laid(body: bytes, fields: Mapping[int, bytes]) -> bytes:
    """A report with `fields` laid over it by offset."""
    found = bytearray(body)
    for offset, value in fields.items():
        found[offset : offset + len(value)] = value
    return bytes(found)


def judge_report(amd: Amd, fields: dict[int, bytes], **section: Any) -> set[str]:
    collateral = read_collateral(amd.vek(amd.extensions()).der)
    claims = verify(parse(amd.report(fields, version=5), "snp"), collateral, amd.anchors, NOW)
    assert claims.verified
    given = {"measurements", "id_keys", "author_keys"} & section.keys()
    policy = load_policy({"snp": {"any_workload": not given, "revocation": "off", "vmpl": [0, 1], **section}})
    return failed(appraise(claims, policy, expected=None))


def judge_quote(intel: Intel, kind: str, quote: bytes, **section: Any) -> set[str]:
    collateral = read_intel_collateral(intel.collateral(kind.upper()))
    claims = verify(parse(quote, kind), collateral, intel.anchors, NOW)
    assert claims.verified
    given = {"mrenclaves", "mrsigners", "mrtds"} & section.keys()
    return failed(appraise(claims, load_policy({kind: {"any_workload": not given, **section}}), expected=None))


def quote_of(intel: Intel, kind: str, body: bytes = b"", **options: Any) -> bytes:
    return intel.quote(kind.upper(), body=body, **{"pck": intel.whole_platform(), **options})


def test_every_field_has_a_row() -> None:
    assert {*SNP, "guest_policy", "platform_info", *WITH_LISTS} == set(SnpPolicy.__struct_fields__) - EVERY_KIND
    assert GUEST_POLICY.keys() == set(GuestPolicy.__struct_fields__)
    assert PLATFORM_INFO.keys() == set(PlatformInfo.__struct_fields__)
    common = set(IntelPolicy.__struct_fields__)
    assert {*INTEL, *WITH_LISTS} == common - EVERY_KIND
    assert {*SGX, *SGX_ATTRIBUTES} == set(SgxPolicy.__struct_fields__) - common
    assert {*TDX, *TD_ATTRIBUTES} == set(TdxPolicy.__struct_fields__) - common


@pytest.mark.parametrize("name", SNP)
def test_a_field_for_snp(amd: Amd, name: str) -> None:
    fields = {0x04: b"\5", 0x10: b"\xee" * 16, 0x20: b"\xff" * 16, 0x30: b"\1", 0x48: b"\1", 0x90: b"\xaa" * 48}
    fields |= {0xC0: b"\xdd" * 32, 0xE0: b"\xbb" * 48, 0x110: b"\xcc" * 48, 0x1E0: bytes([3, 0, 0, 0, 0, 0, 24, 219])}
    fields |= {0x1F7: b"\xc8", 0x1F8: b"\x03", 0x200: b"\x01"}
    fits, refuses, check = SNP[name]
    assert judge_report(amd, fields, **{name: fits}) == set()
    assert judge_report(amd, fields, **{name: refuses}) == {check}


@pytest.mark.parametrize("name", GUEST_POLICY)
def test_a_bit_of_the_guest_policy(amd: Amd, name: str) -> None:
    others = dict.fromkeys(("debug", "migrate_ma"), "any")
    base = 1 << 17 | 0x1F
    for policy, fits, refuses in ((base | 1 << GUEST_POLICY[name], "require", "forbid"), (base, "forbid", "require")):
        report = {0x08: struct.pack("<Q", policy)}
        assert judge_report(amd, report, guest_policy={**others, name: fits}) == set()
        assert judge_report(amd, report, guest_policy={**others, name: refuses}) == {"guest"}
        assert judge_report(amd, report, guest_policy={**others, name: "any"}) == set()


@pytest.mark.parametrize("name", PLATFORM_INFO)
def test_a_bit_of_the_platform(amd: Amd, name: str) -> None:
    for info, fits, refuses in ((1 << PLATFORM_INFO[name], "require", "forbid"), (0, "forbid", "require")):
        report = {0x40: struct.pack("<Q", info)}
        assert judge_report(amd, report, platform_info={name: fits}) == set()
        assert judge_report(amd, report, platform_info={name: refuses}) == {"platform"}
        assert judge_report(amd, report, platform_info={name: "any"}) == set()


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
@pytest.mark.parametrize("name", INTEL)
def test_a_field_for_intels_platforms(intel: Intel, kind: str, name: str) -> None:
    options: dict[str, Any] = {"qe_svn": 7} if name == "qe_grace_days" else {}
    if name in {"accept_statuses", "allow_advisories", "deny_advisories", "platform_grace_days"}:
        options["pck"] = intel.whole_platform(OUTDATED)
    quote = quote_of(intel, kind, **options)
    others: dict[str, Any] = {"accept_statuses": ["OutOfDate"]} if name.endswith("advisories") else {}
    fits, refuses, check = INTEL[name]
    assert judge_quote(intel, kind, quote, **{**others, name: fits}) == set()
    assert judge_quote(intel, kind, quote, **{**others, name: refuses}) == {check}


@pytest.mark.parametrize("name", SGX)
def test_a_field_for_sgx(intel: Intel, name: str) -> None:
    fields = {16: b"\xdd" * 4, 32: b"\xaa" * 16, 192: b"\xcc" * 64, 260: b"\x09", 304: b"\xbb" * 16}
    quote = quote_of(intel, "sgx", laid(intel.enclave(isv_prod_id=7, isv_svn=3), fields))
    fits, refuses, check = SGX[name]
    assert judge_quote(intel, "sgx", quote, **{name: fits}) == set()
    assert judge_quote(intel, "sgx", quote, **{name: refuses}) == {check}


@pytest.mark.parametrize("name", SGX_ATTRIBUTES)
def test_an_attribute_of_enclaves(intel: Intel, name: str) -> None:
    for flags, fits, refuses in ((5 | 1 << SGX_ATTRIBUTES[name], "require", "forbid"), (5, "forbid", "require")):
        quote = quote_of(intel, "sgx", intel.enclave(attributes=flags.to_bytes(16, "little")))
        assert judge_quote(intel, "sgx", quote, **{name: fits}) == set()
        assert judge_quote(intel, "sgx", quote, **{name: refuses}) == {"attributes"}
        assert judge_quote(intel, "sgx", quote, **{name: "any"}) == set()


@pytest.mark.parametrize("name", TDX)
def test_a_field_for_tdx(intel: Intel, name: str) -> None:
    fields = {16: b"\xbb" * 48, 136: b"\xaa" * 48, 184: b"\xcc" * 48, 232: b"\xdd" * 48, 280: b"\xee" * 48}
    fields |= {328 + 48 * index: bytes([0x10 + index]) * 48 for index in range(4)} | MARKED.get(name, {})
    quote = quote_of(intel, "tdx", laid(intel.domain(xfam=0x602E7), fields))
    fits, refuses, check = TDX[name]
    assert judge_quote(intel, "tdx", quote, **{name: fits}) == set()
    assert judge_quote(intel, "tdx", quote, **{name: refuses}) == {check}


@pytest.mark.parametrize("name", TD_ATTRIBUTES)
def test_an_attribute_of_domains(intel: Intel, name: str) -> None:
    for attributes, fits, refuses in ((1 << TD_ATTRIBUTES[name], "require", "forbid"), (0, "forbid", "require")):
        quote = quote_of(intel, "tdx", intel.domain(attributes=attributes))
        assert judge_quote(intel, "tdx", quote, **{name: fits}) == set()
        assert judge_quote(intel, "tdx", quote, **{name: refuses}) == {"attributes"}
        assert judge_quote(intel, "tdx", quote, **{name: "any"}) == set()
