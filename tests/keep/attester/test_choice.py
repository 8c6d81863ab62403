"""Which evidence a Keep gives: what is found where it was built to look, and no less because the host asks for less."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import enarx_attestation
from enarx_keep.attester.choice import PROCESS, Place, choose
from enarx_keep.attester.hardware import ENCLAVE, VIRTUAL_MACHINE
from enarx_keep.attester.machine import Machine
from enarx_keep.errors import NoEvidence

KINDS = ["nil", "kvm", "snp", "tdx", "sgx", "cca", "", "NIL"]
PACKAGE = f"sha256:{'a1' * 32}"
AT = datetime(2026, 6, 1, tzinfo=UTC)


def machine(root: Path, *devices: str) -> Machine:
    for device in devices:
        (root / device).parent.mkdir(parents=True, exist_ok=True)
        (root / device).write_text("dcap")
    return Machine(root)


@pytest.mark.parametrize(
    ("place", "devices", "kind"),
    [
        (PROCESS, [], "nil"),
        (PROCESS, ["dev/sev-guest", "dev/attestation/attestation_type"], "nil"),
        (VIRTUAL_MACHINE, [], "kvm"),
        (VIRTUAL_MACHINE, ["dev/sev-guest"], "snp"),
        (VIRTUAL_MACHINE, ["dev/tdx_guest"], "tdx"),
        (VIRTUAL_MACHINE, ["dev/sev-guest", "dev/tdx_guest"], "snp"),
        (VIRTUAL_MACHINE, ["dev/attestation/attestation_type"], "kvm"),
        (ENCLAVE, ["dev/attestation/attestation_type", "dev/sev-guest"], "sgx"),
        (ENCLAVE, [], None),
    ],
)
def test_what_is_found_is_given_and_nothing_else(
    tmp_path: Path, place: Place, devices: list[str], kind: str | None
) -> None:
    found = machine(tmp_path, *devices)
    for asked in KINDS:
        if asked == kind:
            assert choose(asked, place, found).kind == kind
        else:
            with pytest.raises(NoEvidence, match="cannot give evidence"):
                choose(asked, place, found)


@pytest.mark.parametrize("asked", KINDS)
def test_hardware_that_fails_is_no_reason_to_give_less(tmp_path: Path, asked: str) -> None:
    reports = tmp_path / "sys/kernel/config/tsm/report"
    reports.parent.mkdir(parents=True)
    reports.touch()  # there, and it takes no entries
    with pytest.raises(NoEvidence, match=r"it has none.*configfs-tsm"):
        choose(asked, VIRTUAL_MACHINE, Machine(tmp_path))


def test_another_source_serves_where_the_first_fails(tmp_path: Path) -> None:
    reports = tmp_path / "sys/kernel/config/tsm/report"
    reports.parent.mkdir(parents=True)
    reports.touch()
    assert choose("tdx", VIRTUAL_MACHINE, machine(tmp_path, "dev/tdx_guest")).source.name == "/dev/tdx_guest"


def test_every_probe_says_why_not(tmp_path: Path) -> None:
    with pytest.raises(NoEvidence) as caught:
        choose("snp", VIRTUAL_MACHINE, Machine(tmp_path))
    for source in ("configfs-tsm: ", "/dev/sev-guest: ", "/dev/tdx_guest: "):
        assert source in str(caught.value)
    assert "it has kvm" in str(caught.value)


@pytest.mark.parametrize(("place", "kind"), [(PROCESS, "nil"), (VIRTUAL_MACHINE, "kvm")])
def test_a_document_without_hardware_says_so_to_the_verifier(tmp_path: Path, place: Place, kind: str) -> None:
    data = bytes(range(64))
    evidence = choose(kind, place, Machine(tmp_path)).source.evidence(PACKAGE, data)
    assert json.loads(evidence.document)["kind"] == evidence.kind == kind
    read = enarx_attestation.parse(evidence.document)
    claims = enarx_attestation.verify(read, enarx_attestation.Collateral(), enarx_attestation.VENDOR_ANCHORS, AT)
    assert (claims.kind, claims.hardware, claims.package, claims.report_data) == (kind, False, PACKAGE, data.hex())
