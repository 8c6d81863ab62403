"""What AMD's specifications say of cases that no recorded report shows, from files to a verdict.

A row differs from what is accepted in one thing, and names the checks that must fail; none means accepted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from enarx_attestation import Verdict, appraise_files, load_policy

if TYPE_CHECKING:
    from conftest import Amd, Party

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CHIP = bytes(range(64))
Fields = dict[int, bytes]
SIGNED_BY_VLEK = {0x48: struct.pack("<I", 1 << 2)}
GENOA = {0x188: bytes([0x19, 0x11, 0x01])}
DENSE = {"fmc": 1, "bl": 2, "tee": 0, "snp": 4, "ucode": 81}
DENSE_TCB = bytes([1, 2, 0, 4, 0, 0, 0, 81])


def judge(amd: Amd, data: bytes, files: Mapping[str, bytes], **section: Any) -> Verdict:
    policy = load_policy({"snp": {"any_workload": True, **section}})
    return appraise_files(data, files, policy, kind="snp", at=NOW, expected=None, anchors=amd.anchors)


def failed(verdict: Verdict) -> set[str]:
    assert verdict.ok == (not verdict.failed)
    return {check.id.partition(".")[2] for check in verdict.failed} - {"verified"}


def tcbs(value: bytes) -> Fields:
    """CURRENT, REPORTED, COMMITTED and LAUNCH TCB."""
    return dict.fromkeys((0x38, 0x180, 0x1E0, 0x1F0), value)


REPORTS: dict[str, tuple[Fields, dict[str, Any], set[str]]] = {
    "VMPL 3 where it is listed": ({0x30: b"\3"}, {"vmpl": [0, 3]}, set()),
    "asked for by the host": ({0x30: b"\xff" * 4}, {"vmpl": [0, 1, 2, 3]}, {"policy.vmpl"}),
    "a TCB that fell after the launch": ({0x1F0: bytes([4, 0, 0, 0, 0, 0, 24, 220])}, {}, set()),
    "a TCB launched under less than the minimum": (
        {0x1F0: bytes([3, 0, 0, 0, 0, 0, 24, 219])},
        {"minimum_launch_tcb": {"milan": {"bl": 4}}},
        {"policy.launch-tcb"},
    ),
    "one component above and one below": ({0x38: bytes([9, 0, 0, 0, 0, 0, 24, 218])}, {}, {"tcb.order"}),
    "CURRENT_TCB above all": ({0x38: bytes([9, 0, 0, 0, 0, 0, 30, 255])}, {}, set()),
    "firmware that is not committed": (
        {0x1EC: bytes([28, 55, 1])},
        {"provisional_firmware": "forbid"},
        {"policy.provisional"},
    ),
    "a build below the minimum": ({}, {"minimum_firmware": "1.55.30"}, {"policy.firmware"}),
    "a major version above the minimum": ({}, {"minimum_firmware": "0.99.99"}, set()),
    "minimums of another line alone": ({}, {"minimum_tcb": {"genoa": {"bl": 1}}}, {"policy.tcb"}),
    "minimums of both lines": ({}, {"minimum_tcb": {"genoa": {"bl": 99}, "milan": {"snp": 24}}}, set()),
    "an author without an enabled key": (
        {0x110: b"\xcc" * 48},
        {"any_workload": False, "author_keys": ["cc" * 48]},
        {"policy.workload"},
    ),
    "an author's key that is denied": (
        {0x110: b"\xcc" * 48, 0x48: b"\1"},
        {"deny_author_keys": ["cc" * 48]},
        {"policy.denied"},
    ),
    "no ID block where an ID key is listed": (
        {},
        {"any_workload": False, "id_keys": ["bb" * 48]},
        {"policy.workload"},
    ),
    "reserved bits beside AUTHOR_KEY_EN": ({0x48: struct.pack("<I", 1 << 5)}, {}, {"report.reserved"}),
    "the highest of those bits": ({0x48: struct.pack("<I", 1 << 31)}, {}, {"report.reserved"}),
    "MASK_CHIP_KEY with a key all the same": ({0x48: b"\2"}, {}, set()),
    "key 2, which nobody has defined": (
        {0x48: struct.pack("<I", 2 << 2)},
        {},
        {"report.signing-key", "policy.signing-key"},
    ),
    "policy bit 63": ({0x08: struct.pack("<Q", 1 << 63 | 0x3001F)}, {}, {"report.reserved"}),
    "bits of PLATFORM_INFO that are to come": ({0x40: b"\xff" * 8}, {}, set()),
    "no check for aliased memory where it is asked for": (
        {},
        {"platform_info": {"alias_check_complete": "require"}},
        {"policy.platform"},
    ),
    "a masked chip whose key is that of a listed one": ({0x1A0: bytes(64)}, {"chip_ids": [CHIP.hex()]}, set()),
    "a masked chip whose key is that of another": (
        {0x1A0: bytes(64)},
        {"chip_ids": ["00" * 64]},
        {"policy.platform-id"},
    ),
    "mitigations asked of a report that has none": ({}, {"required_mitigations": 1}, {"policy.mitigations"}),
    "no CPUID in a report that has one": ({0x188: bytes(3)}, {}, {"product"}),
    "Milan's last model": ({0x188: bytes([0x19, 0x0F, 0])}, {}, set()),
    "the model after it": ({0x188: bytes([0x19, 0x10, 0])}, {}, {"product"}),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_report(amd: Amd, case: str) -> None:
    fields, section, checks = REPORTS[case]
    files = {"vcek.der": amd.vek(amd.extensions()).der, "crl.der": amd.crl()}
    assert failed(judge(amd, amd.report(fields), files, **section)) == checks


def keys_of_genoa(genoa: Amd) -> dict[str, tuple[Fields, list[Any], set[str]]]:
    chip = b"\x04\x40" + CHIP
    return {
        "Genoa": (GENOA, genoa.extensions(hwid=chip, product="Genoa"), set()),
        "Genoa with a stepping": (GENOA, genoa.extensions(product="Genoa-B1"), set()),
        "Siena's models": ({0x188: bytes([0x19, 0xA0, 0x02])}, genoa.extensions(product="Genoa"), set()),
        "Siena by its own name": ({0x188: bytes([0x19, 0xA0, 0x02])}, genoa.extensions(product="Siena"), set()),
        "Bergamo's last model": ({0x188: bytes([0x19, 0xAF, 0x00])}, genoa.extensions(product="Bergamo"), set()),
        "Milan's processor": ({0x188: bytes([0x19, 0x01, 0x01])}, genoa.extensions(product="Genoa"), {"product"}),
        "Milan's name": (GENOA, genoa.extensions(product="Milan-B0"), {"product"}),
        "a model between the ranges": ({0x188: bytes([0x19, 0x20, 0])}, genoa.extensions(product="Genoa"), {"product"}),
    }


@pytest.mark.parametrize("case", range(8))
def test_keys_of_genoa(genoa: Amd, case: int) -> None:
    name, (fields, plain, checks) = list(keys_of_genoa(genoa).items())[case]
    files = {"vcek.der": genoa.vek(plain).der, "crl.der": genoa.crl()}
    assert failed(judge(genoa, genoa.report(fields), files)) == checks, name


def keys_of_turin(turin: Amd) -> dict[str, tuple[Fields, list[Any], set[str]]]:
    good = {0x188: bytes([0x1A, 0x02, 0x01]), 0x1A0: CHIP[:8] + bytes(56), **tcbs(DENSE_TCB)}
    swapped = bytes([2, 1, 0, 4, 0, 0, 0, 81])
    plain = turin.extensions(DENSE, hwid=CHIP[:8], product="Turin")
    without_fmc = {name: value for name, value in DENSE.items() if name != "fmc"}
    return {
        "as it is": (good, plain, set()),
        "Turin Dense": (good | {0x188: bytes([0x1A, 0x11, 0x00])}, plain, set()),
        "the chip in an OCTET STRING": (
            good,
            turin.extensions(DENSE, hwid=b"\x04\x08" + CHIP[:8], product="Turin"),
            set(),
        ),
        "boot loader and FMC exchanged": (good | tcbs(swapped), plain, {"tcb.reported"}),
        "Milan's layout": (good | tcbs(bytes([2, 0, 0, 0, 0, 0, 4, 81])), plain, {"tcb.reported", "tcb.reserved"}),
        "a certificate without FMC": (
            good,
            turin.extensions(without_fmc, hwid=CHIP[:8], product="Turin"),
            {"tcb.reported"},
        ),
        "FMC below the minimum": (good, plain, {"policy.tcb"}),
        "a component of CURRENT_TCB below": (good | {0x38: bytes([0, 2, 0, 4, 0, 0, 0, 81])}, plain, {"tcb.order"}),
        "another chip of eight bytes": (good | {0x1A0: CHIP[1:9] + bytes(56)}, plain, {"chip-id"}),
        "Genoa's processor": (good | GENOA, plain, {"product"}),
    }


@pytest.mark.parametrize("case", range(10))
def test_keys_of_turin(turin: Amd, case: int) -> None:
    name, (fields, plain, checks) = list(keys_of_turin(turin).items())[case]
    section = {"minimum_tcb": {"turin": {"fmc": 2}}} if "policy.tcb" in checks else {}
    files = {"vcek.der": turin.vek(plain).der, "crl.der": turin.crl()}
    report = turin.report(fields, version=5)
    assert failed(judge(turin, report, files, **section)) == checks, name


def providers(amd: Amd) -> dict[str, tuple[Fields, dict[str, bytes], set[str]]]:
    vcek = amd.vek(amd.extensions()).der
    vlek = amd.vek(amd.extensions(hwid=None, csp="aws", product="Milan"), role="VLEK").der
    by_ask = amd.vek(amd.extensions(hwid=None, csp="aws", product="Milan"), role="VLEK", issuer=amd.ask).der
    ask, asvk = (found.certificate.serial_number for found in (amd.ask, amd.asvk))
    return {
        "a VLEK": (SIGNED_BY_VLEK, {"vlek.der": vlek, "crl.der": amd.crl()}, set()),
        "both keys, and the report names this one": (
            SIGNED_BY_VLEK,
            {"vlek.der": vlek, "vcek.der": vcek, "crl.der": amd.crl()},
            set(),
        ),
        "both keys, and the report names the other": (
            {},
            {"vlek.der": vlek, "vcek.der": vcek, "crl.der": amd.crl()},
            set(),
        ),
        "a VCEK for a report by a VLEK": (
            SIGNED_BY_VLEK,
            {"vcek.der": vcek, "crl.der": amd.crl()},
            {"report.signing-key"},
        ),
        "a VLEK for a report by a VCEK": ({}, {"vlek.der": vlek, "crl.der": amd.crl()}, {"report.signing-key"}),
        "a VLEK in the VCEK's file": (SIGNED_BY_VLEK, {"vcek.der": vlek, "crl.der": amd.crl()}, set()),
        "a VLEK by the VCEKs' issuer": (
            SIGNED_BY_VLEK,
            {"vlek.der": by_ask, "crl.der": amd.crl()},
            {"root.unpinned"},
        ),
        "its issuer is revoked": (
            SIGNED_BY_VLEK,
            {"vlek.der": vlek, "crl.der": amd.crl(asvk)},
            {"certificate.revoked", "policy.revocation"},
        ),
        "the VCEKs' issuer is revoked": (SIGNED_BY_VLEK, {"vlek.der": vlek, "crl.der": amd.crl(ask)}, set()),
        "the VLEKs' issuer is revoked": ({}, {"vcek.der": vcek, "crl.der": amd.crl(asvk)}, set()),
        "the VLEKs' chain is given for a VCEK": (
            {},
            {"vcek.der": vcek, "crl.der": amd.crl(), "ca_chain.pem": (amd.asvk.pem + amd.ark.pem).encode()},
            set(),
        ),
        "the chain is given root first": (
            {},
            {"vcek.der": vcek, "crl.der": amd.crl(), "ca_chain.pem": (amd.ark.pem + amd.ask.pem).encode()},
            set(),
        ),
    }


@pytest.mark.parametrize("case", range(12))
def test_keys_of_providers(amd: Amd, case: int) -> None:
    name, (fields, files, checks) = list(providers(amd).items())[case]
    assert failed(judge(amd, amd.report(fields), files)) == checks, name


def lists(amd: Amd, genoa: Amd, vek: Party) -> dict[str, tuple[str, dict[str, bytes], set[str]]]:
    old, coming = amd.crl(days=(-9, -1)), amd.crl(days=(1, 9))
    old_bad = amd.crl(amd.ask.certificate.serial_number, days=(-9, -1))
    stale = {"policy.revocation"}
    return {
        "a current one beside an expired one": ("require", {"crl-1.der": old, "crl-2.der": amd.crl()}, set()),
        "one that is to come": ("require", {"crl.der": coming}, stale),
        "one that is to come, preferred": ("prefer", {"crl.der": coming}, set()),
        "of another line": ("require", {"crl.der": genoa.crl()}, stale),
        "of another line beside the own": (
            "require",
            {"crl_genoa.der": genoa.crl(), "crl_milan.der": amd.crl()},
            set(),
        ),
        "the key's own number, which another issuer gave": (
            "require",
            {"crl.der": amd.crl(vek.certificate.serial_number)},
            set(),
        ),
        "an expired one that names the issuer": (
            "prefer",
            {"crl.der": old_bad},
            {"certificate.revoked", "policy.revocation"},
        ),
        "the same, not asked for": ("off", {"crl.der": old_bad}, {"certificate.revoked", "policy.revocation"}),
        "its last moment": ("require", {"crl.der": amd.crl(days=(-9, 0))}, set()),
        "its first moment": ("require", {"crl.der": amd.crl(days=(0, 9))}, set()),
    }


@pytest.mark.parametrize("case", range(10))
def test_revocation_lists_of_amd(amd: Amd, genoa: Amd, case: int) -> None:
    vek = amd.vek(amd.extensions())
    name, (mode, files, checks) = list(lists(amd, genoa, vek).items())[case]
    files = {"vcek.der": vek.der, **files}
    assert failed(judge(amd, amd.report(), files, revocation=mode)) == checks, name
