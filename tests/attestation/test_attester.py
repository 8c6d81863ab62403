"""From a Keep's attester to a verdict: what a source gives is what the library accepts, bound to what was asked for.

The hardware is in miniature, and so is the host: each signs what the Keep asks it to.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from enarx_attestation import Binding, Verdict, appraise_files, load_policy
from enarx_keep import binding
from enarx_keep.attester.choice import Place, choose
from enarx_keep.attester.hardware import ENCLAVE, VIRTUAL_MACHINE
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.sev_guest import SNP_GET_EXT_REPORT
from enarx_keep.attester.source import Evidence

if TYPE_CHECKING:
    from conftest import Amd, Intel

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PACKAGE = f"sha256:{'a1' * 32}"
ASKED = {"nonce": b"n" * 32, "package": PACKAGE, "audience": "https://steward.example"}
KEY = b"a public key"
VCEK_GUID = bytes.fromhex("63da758de6644564adc5f4b93be8accd")


class Configfs(Machine):
    """configfs-tsm with one entry, whose report is made by `quote` of what was written."""

    def __init__(self, provider: str, quote: Callable[[bytes], bytes], auxblob: bytes = b"") -> None:
        self.writes, self.inblob = 0, b""
        self.provider, self.quote, self.auxblob = provider, quote, auxblob

    def has(self, path: str) -> bool:
        return not path.endswith("privlevel_floor")

    def make_directory(self, path: str) -> None:
        self.writes, self.inblob = 0, b""

    def remove_directory(self, path: str) -> None:
        pass

    def write(self, path: str, data: bytes) -> None:
        self.writes, self.inblob = self.writes + 1, data

    def read(self, path: str, limit: int) -> bytes:
        name = path.rpartition("/")[2]
        fixed = {"generation": b"%d" % self.writes, "provider": self.provider.encode(), "auxblob": self.auxblob}
        return self.quote(self.inblob) if name == "outblob" else fixed[name]


class Enclave(Machine):
    """Gramine's directory."""

    def __init__(self, quote: Callable[[bytes], bytes]) -> None:
        self.quote, self.data = quote, b""

    def write(self, path: str, data: bytes) -> None:
        self.data = data

    def read(self, path: str, limit: int) -> bytes:
        return b"dcap" if path.endswith("type") else self.quote(self.data)


def table(vcek: bytes) -> bytes:
    return VCEK_GUID + struct.pack("<II", 48, len(vcek)) + bytes(24) + vcek


def guest_device(tmp_path: Path, amd: Amd, vcek: bytes) -> Machine:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sev-guest").touch()

    def ioctl(_descriptor: int, number: int, call: Any) -> None:
        assert number == SNP_GET_EXT_REPORT
        data = ctypes.string_at(call.req_data, 64)
        certificates = struct.unpack("<Q", ctypes.string_at(call.req_data + 96, 8))[0]
        ctypes.memmove(certificates, table(vcek), len(table(vcek)))
        ctypes.memmove(call.resp_data, struct.pack("<II24x", 0, 0x4A0) + amd.report({0x50: data}), 32 + 0x4A0)

    return Machine(tmp_path, ioctl=ioctl)


def attest(kind: str, place: Place, machine: Machine, **asked: Any) -> Evidence:
    data = binding.report_data(public_key=KEY, **{**ASKED, **asked})
    return choose(kind, place, machine).source.evidence(PACKAGE, data)


def judge(evidence: Evidence, anchors: Any, files: dict[str, bytes] | None = None, **expected: Any) -> Verdict:
    policy = load_policy({evidence.kind: {"any_workload": True, "revocation": "prefer"}})
    wanted = Binding(**{"purpose": "tls-server", "spki": KEY, **ASKED, **expected})
    endorsements = {**evidence.endorsements, **(files or {})}
    return appraise_files(
        evidence.document, endorsements, policy, kind=evidence.kind, at=NOW, expected=wanted, anchors=anchors
    )


OTHERWISE: list[dict[str, Any]] = [
    {"nonce": b"N" * 32},
    {"spki": b"another key"},
    {"package": f"sha256:{'b2' * 32}"},
    {"audience": "https://another.example"},
    {"purpose": "tls-client"},
]


def refused_otherwise(evidence: Evidence, anchors: Any, files: dict[str, bytes] | None = None) -> None:
    """Accepted as it was asked for; with any one thing different refused, for that reason alone."""
    verdict = judge(evidence, anchors, files)
    assert verdict.ok, verdict.failed
    for other in OTHERWISE:
        failed = judge(evidence, anchors, files, **other).failed
        assert [check.id for check in failed] == ["binding.report-data"], other


@pytest.mark.parametrize("source", ["configfs-tsm", "/dev/sev-guest"])
def test_snp_with_the_certificates_that_the_host_hands_over(source: str, amd: Amd, tmp_path: Path) -> None:
    vcek = amd.vek(amd.extensions()).der
    if source == "configfs-tsm":
        machine: Machine = Configfs("sev_guest", lambda data: amd.report({0x50: data}), table(vcek))
    else:
        machine = guest_device(tmp_path, amd, vcek)
    evidence = attest("snp", VIRTUAL_MACHINE, machine)
    assert evidence.endorsements == {"vcek.der": vcek}
    refused_otherwise(evidence, amd.anchors)


def test_snp_with_certificates_of_the_hosts_own_making_is_refused(amd: Amd) -> None:
    forged = amd.vek(amd.extensions(), issuer=amd.ark).der
    evidence = attest(
        "snp", VIRTUAL_MACHINE, Configfs("sev_guest", lambda data: amd.report({0x50: data}), table(forged))
    )
    assert not judge(evidence, amd.anchors).ok


def domain(intel: Intel, data: bytes) -> bytes:
    body = intel.domain()
    return body[:520] + data + body[584:]


@pytest.mark.parametrize("version", [4, 5])
def test_tdx(version: int, intel: Intel) -> None:
    machine = Configfs("tdx_guest", lambda data: intel.quote(body=domain(intel, data), version=version))
    evidence = attest("tdx", VIRTUAL_MACHINE, machine)
    refused_otherwise(evidence, intel.anchors, {"collateral.json": intel.collateral("TDX")})


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sgx(version: int, intel: Intel) -> None:
    machine = Enclave(lambda data: intel.quote("SGX", body=intel.enclave(report_data=data), version=version))
    evidence = attest("sgx", ENCLAVE, machine)
    refused_otherwise(evidence, intel.anchors, {"collateral.json": intel.collateral("SGX")})
