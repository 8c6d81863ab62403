"""From an image and a package to a Steward's yes, and one changed byte to its no.

The launches are of vendors in miniature: what their chips would measure is worked out from what is launched, and signed
under their own roots. Reference values, signatures, policy, appraisal and refusal are the real ones.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests import small_image
from tests.sgx.elf import PAL
from tests.steward.own_collateral import Store

from enarx_attestation import report_data
from enarx_attestation.intel_collateral import read_collateral
from enarx_attestation.snp import read_collateral as read_amd
from enarx_backends import gramine, measured
from enarx_deploy.models import Package, ReferenceValues
from enarx_image import measurement
from enarx_image.image import Image
from enarx_measurement import Image as Launched
from enarx_measurement import MeasurementFault, Shape, guest_policy, launch_digests, mrtds, registers
from enarx_measurement.gramine_enclave import Enclave, measure
from enarx_steward import policy as policies
from enarx_steward.acceptance import accept
from enarx_steward.appraiser import Appraiser
from enarx_steward.ca import Authority
from enarx_steward.errors import Refused
from enarx_steward.issuance import Steward
from enarx_steward.root import Root

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AUDIENCE = "https://steward.example.org"
KNOWN = Path(__file__).parents[1] / "measurement/known_answers"
POLICY = b'[ca]\ntrust_domain = "example.org"\n\n[nil]\nany_workload = true\nnames = ["localhost"]\n'


@dataclass(frozen=True)
class Launch:
    """All that a Keep on hardware is made of."""

    kernel: bytes = b"kernel"
    initrd: bytes = b"initramfs"
    cmdline: str = "quiet"
    workload: bytes = b"main.wasm"
    manifest: bytes = b"Enarx.toml"

    @property
    def package(self) -> str:
        return "sha256:" + hashlib.sha256(self.workload + b"\0" + self.manifest).hexdigest()

    def image(self, folder: Path) -> Image:
        """The image as it is on disk."""
        folder.mkdir(exist_ok=True)
        record = small_image.write(folder, kernel=self.kernel, initrd=self.initrd, cmdline=self.cmdline.encode())
        return Image(folder, record, self.cmdline)

    def described(self) -> Package:
        return Package(digest=self.package, root="", size=0, files=[])


CHANGES = {
    "workload": Launch(workload=b"main.wasn"),
    "manifest": Launch(manifest=b"Enarx.tonl"),
    "kernel": Launch(kernel=b"kernem"),
    "initramfs": Launch(initrd=b"initramft"),
    "command-line": Launch(cmdline="quiet "),
}


class Snp:
    """A machine with SEV-SNP, of AMD in miniature."""

    kind = "snp"
    field = "measurements"
    bios = KNOWN / "ovmf-amdsev-suffix.bin"

    def __init__(self, vendor: Any) -> None:
        self.vendor = vendor
        self.collateral = read_amd(vendor.vek(vendor.extensions()).der, crls=[vendor.crl()])

    def reference_values(self, launch: Launch, folder: Path) -> ReferenceValues:
        return measured.snp(launch.described(), launch.image(folder), self.bios)

    def measured(self, launch: Launch, folder: Path, features: int = 1) -> str:
        image = launch.image(folder)
        shape = Shape(1, "EPYC-v4", features)
        return launch_digests(Launched(self.bios, image.kernel, image.initrd, image.cmdline), [shape])[shape]

    def evidence(self, launch: Launch, folder: Path, data: bytes) -> bytes:
        package = bytes.fromhex(launch.package.removeprefix("sha256:"))
        return self.vendor.report({0x50: data, 0x90: bytes.fromhex(self.measured(launch, folder)), 0xC0: package})


class Tdx:
    """A machine with TDX, of Intel in miniature; its firmware measures what it boots into RTMR1 and RTMR2."""

    kind = "tdx"
    field = "rtmr2"

    def __init__(self, vendor: Any, bios: Path) -> None:
        self.vendor = vendor
        self.bios = bios
        self.collateral = read_collateral(vendor.collateral("TDX"))

    def events(self, launch: Launch) -> list[tuple[int, bytes]]:
        options = launch.cmdline.encode("utf-16-le") + b"\0\0"
        return [(2, launch.kernel), (3, options), (3, launch.initrd)]

    def log(self, launch: Launch) -> bytes:
        """The event log (CCEL) of a launch."""
        body = b"Spec ID Event03\0" + bytes(4) + bytes([0, 2, 0, 2]) + struct.pack("<IHH", 1, 0x0C, 48) + b"\0"
        said = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(body)) + body
        for register, content in self.events(launch):
            said += struct.pack("<IIIH", register, 6, 1, 0x0C) + hashlib.sha384(content).digest()
            said += struct.pack("<I", 4) + b"note"
        return said

    def reference_values(self, launch: Launch, folder: Path) -> ReferenceValues:
        seen = registers(self.log(launch), launch.initrd)
        return measured.tdx(launch.described(), launch.image(folder), self.bios, seen)

    def measured(self, launch: Launch, _folder: Path) -> str:
        return self._registers(launch)[2].hex()

    def evidence(self, launch: Launch, folder: Path, data: bytes) -> bytes:
        body = bytearray(self.vendor.domain(rtmr=self._registers(launch)))
        body[136:184] = bytes.fromhex(mrtds(self.bios.read_bytes())[0])
        body[184:216] = bytes.fromhex(launch.package.removeprefix("sha256:"))
        body[520:584] = data
        return self.vendor.quote("TDX", body=bytes(body))

    def _registers(self, launch: Launch) -> list[bytes]:
        values = [bytes(48)] * 4
        for register, content in self.events(launch):
            values[register - 1] = hashlib.sha384(values[register - 1] + hashlib.sha384(content).digest()).digest()
        return values


class Sgx:
    """A machine with SGX, of Intel in miniature. The initramfs stands for a file of the image, the command line for an
    argument, and the kernel for Gramine's library OS."""

    kind = "sgx"
    field = "mrenclaves"

    def __init__(self, vendor: Any) -> None:
        self.vendor = vendor
        self.collateral = read_collateral(vendor.collateral("SGX"))

    def reference_values(self, launch: Launch, folder: Path) -> ReferenceValues:
        measured_so = bytes.fromhex(self.measured(launch, folder))
        return measured.sgx(launch.described(), "sha256:" + "00" * 32, measured_so, "11" * 32)

    def measured(self, launch: Launch, _folder: Path) -> str:
        argv = ["/usr/bin/python3.13", launch.cmdline, launch.package]
        enclave = gramine.Enclave(argv, {"usr/lib/keep/life.pyc": launch.initrd}, launch.kernel, memory=0)
        text = gramine.text(gramine.manifest(enclave, 1, 1))
        return measure(Enclave(text, PAL, gramine.size(0), gramine.THREADS)).hex()

    def evidence(self, launch: Launch, folder: Path, data: bytes) -> bytes:
        body = bytearray(self.vendor.enclave(report_data=data))
        body[64:96] = bytes.fromhex(self.measured(launch, folder))
        return self.vendor.quote("SGX", body=bytes(body))


@pytest.fixture(params=["snp", "tdx", "sgx"])
def machine(request, tmp_path):
    """A machine of each kind in turn."""
    if request.param == "snp":
        return Snp(request.getfixturevalue("amd"))
    if request.param == "sgx":
        return Sgx(request.getfixturevalue("intel"))
    bios = tmp_path / "tdvf.fd"
    bios.write_bytes(firmware())
    return Tdx(request.getfixturevalue("intel"), bios)


def firmware() -> bytes:
    """A firmware of one measured section."""
    import uuid

    table = struct.pack("<4sIII", b"TDVF", 48, 1, 1) + struct.pack("<IIQQII", 0, 0x1000, 0xFFC0_0000, 0x1000, 0, 1)
    entry = (0x1000).to_bytes(4, "little") + struct.pack("<H", 22)
    entry += uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
    footer = struct.pack("<H", 40) + uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le + bytes(32)
    return bytes(range(256)) * 16 + table.ljust(0x1000 - len(entry + footer), b"\0") + entry + footer


@pytest.fixture
def ask(keep, machine, tmp_path) -> Callable[[Launch], Any]:
    """Launch something, and have its Keep ask a Steward that accepts `Launch()` by its reference values alone."""
    values = machine.reference_values(Launch(), tmp_path / "accepted")
    accepted = policies.parse(accept(POLICY, values.policy, ["keep.example.org"]))
    steward = Steward(
        Authority.create(Root.create(NOW), accepted, NOW),
        accepted,
        audience=AUDIENCE,
        clock=lambda: NOW,
        appraiser=Appraiser(machine.vendor.anchors, Store(machine.collateral)),
    )

    def ask(launch: Launch, *, named: str | None = None) -> Any:
        nonce = steward.challenge().nonce
        package = named or launch.package
        data = report_data(purpose="tls-server", nonce=nonce, spki=keep.spki, package=package, audience=AUDIENCE)
        return steward.certify(
            request=keep.request(marking=None),
            nonce=nonce,
            kind=machine.kind,
            evidence=machine.evidence(launch, tmp_path / "launched", data),
            package=package,
            endorsements={},
        )

    return ask


def test_what_was_measured_beforehand_is_certified(ask):
    assert ask(Launch()).certificate


@pytest.mark.parametrize("what", CHANGES)
def test_one_changed_byte_is_refused_and_the_refusal_names_both_digests(ask, machine, tmp_path, what):
    changed = CHANGES[what]
    with pytest.raises(Refused) as caught:
        ask(changed)
    failed = {check.id: check for check in caught.value.checks if not check.ok}
    if what in ("workload", "manifest"):
        check = failed["binding.packages"]
        assert Launch().package in str(check.expected)
        assert changed.package in str(check.actual)
        return
    id = f"{machine.kind}.policy.{'measurement' if machine.kind == 'tdx' else 'workload'}"
    check = failed[id]
    where = "rtmr1" if (machine.kind, what) == ("tdx", "kernel") else machine.field
    wanted = machine.reference_values(Launch(), tmp_path / "accepted").policy[machine.kind][where]
    found = machine.reference_values(changed, tmp_path / "changed").policy[machine.kind][where]
    assert all(digest in str(check.expected) for digest in wanted)
    assert any(digest in str(check.actual) for digest in found)


def test_a_keep_that_names_the_accepted_package_and_was_launched_with_another_is_refused(ask, machine):
    """What it says in its report data is the Keep's own word; what was fixed at launch is not."""
    with pytest.raises(Refused) as caught:
        ask(replace(Launch(), workload=b"another"), named=Launch().package)
    # An enclave's package is an argument of its program, and so a part of what it measures to.
    assert ("sgx.policy.workload" if machine.kind == "sgx" else "binding.launch-package") in caught.value.failed


LAUNCHED_OTHERWISE = {
    "two-cpus": ("snp.policy.workload", {"shape": Shape(2, "EPYC-v4", 1)}),
    "another-model": ("snp.policy.workload", {"shape": Shape(1, "EPYC-Genoa", 1)}),
    "another-feature": ("snp.policy.workload", {"shape": Shape(1, "EPYC-v4", 0x5)}),
    "another-firmware": ("snp.policy.workload", {"firmware": True}),
    "words-appended": ("snp.policy.workload", {"launch": Launch(cmdline="quiet init=/bin/sh")}),
    "archive-appended": ("snp.policy.workload", {"launch": Launch(initrd=b"initramfs" + b"070701")}),
    "debugging": ("snp.policy.guest", {"policy": guest_policy("debug")}),
    "migration": ("snp.policy.guest", {"policy": guest_policy("migrate_ma")}),
}


@pytest.mark.parametrize("machine", ["snp"], indirect=True)
@pytest.mark.parametrize("how", LAUNCHED_OTHERWISE)
def test_a_guest_that_its_host_launched_otherwise_is_refused(ask, machine, monkeypatch, tmp_path, how):
    refused, changes = LAUNCHED_OTHERWISE[how]
    bios = tmp_path / "another.fd"
    bios.write_bytes(bytes(4096) + machine.bios.read_bytes())

    def evidence(launch, folder, data):
        image = changes.get("launch", launch).image(folder)
        shape = changes.get("shape", Shape(1, "EPYC-v4", 1))
        launched = Launched(bios if "firmware" in changes else machine.bios, image.kernel, image.initrd, image.cmdline)
        fields = {0x50: data, 0x90: bytes.fromhex(launch_digests(launched, [shape])[shape])}
        fields[0xC0] = bytes.fromhex(launch.package.removeprefix("sha256:"))
        return machine.vendor.report(fields | {0x08: changes.get("policy", guest_policy()).to_bytes(8, "little")})

    monkeypatch.setattr(machine, "evidence", evidence)
    with pytest.raises(Refused) as caught:
        ask(Launch())
    assert refused in caught.value.failed


def test_reference_values_show_each_part_by_its_digest(machine, tmp_path):
    values = machine.reference_values(Launch(), tmp_path / "image").measurements
    if machine.kind == "sgx":
        assert values["MRENCLAVE"] == machine.measured(Launch(), tmp_path)
        assert values["MRSIGNER, ISVPRODID 1, ISVSVN 1"] == "11" * 32
        return
    assert values["kernel"] == measurement.sha256(b"kernel")
    assert values["initrd"] == measurement.sha256(b"initramfs")
    assert values["cmdline"] == measurement.sha256(b"quiet")
    assert values["firmware"] == measurement.sha256(machine.bios.read_bytes())


def test_an_event_log_of_another_image_gives_no_reference_values(intel, tmp_path):
    tdx = Tdx(intel, tmp_path / "unused")
    with pytest.raises(MeasurementFault, match="another initramfs"):
        registers(tdx.log(CHANGES["initramfs"]), Launch().initrd)
    with pytest.raises(MeasurementFault, match="cannot be read"):
        registers(b"not a log", Launch().initrd)
