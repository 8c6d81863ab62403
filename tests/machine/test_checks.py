"""What is said of machines, laid out as file trees: hosts of each kind, and each thing missing in turn.

The trees follow the kernel's documents and the processors' manuals; none was taken from such a machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy.machine import KINDS, Cpu, Machine, for_backend, guest
from enarx_deploy.models import ProbeCheck

EPYC = (
    "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7763\nflags\t\t: svm fsgsbase rdrand sme sev sev_es sev_snp\n\n"
)
XEON = "vendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: vmx fsgsbase rdrand tdx_host_platform sgx sgx_lc\n\n"


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def answering(leaves: dict[tuple[int, int], tuple[int, int, int, int]]) -> Callable[[int, int], bytes]:
    """A CPUID that knows these leaves and subleaves, and answers zeros to others, as processors do."""
    return lambda leaf, subleaf: struct.pack("<4I", *leaves.get((leaf, subleaf), (0, 0, 0, 0)))


def host(root: Path, cpuinfo: str, *files: str, **texts: str) -> None:
    write(root, "proc/cpuinfo", cpuinfo * 2)
    for path in ("dev/kvm", "sys/class/iommu/ivhd0/name", *files):
        write(root, path)
    for path, text in texts.items():
        write(root, path, text)


def snp_host(root: Path) -> None:
    host(root, EPYC, "dev/sev", **{"sys/module/kvm_amd/parameters/sev_snp": "Y\n"})


def tdx_host(root: Path) -> None:
    files = ("dev/sgx_enclave", "var/run/tdx-qgs/qgs.socket")
    host(root, XEON, *files, **{"sys/module/kvm_intel/parameters/tdx": "Y\n"})


def sgx_host(root: Path) -> None:
    devices = ("dev/sgx_enclave", "dev/sgx_provision", "var/run/aesmd/aesm.socket")
    host(root, XEON, *devices, "usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1")


HOSTS: dict[str, Callable[[Path], None]] = {
    "kvm": lambda root: host(root, XEON),
    "snp": snp_host,
    "tdx": tdx_host,
    "sgx": sgx_host,
}


def machine(root: Path, *, kvm: int = 12, memlock: int = -1, cpuid: Any = None, sev: bytes | None = None) -> Machine:
    """A machine whose KVM is of this version, and whose SEV firmware answers so, if it does."""

    def ioctl(_descriptor: int, _request: int, command: bytearray | None = None) -> int:
        if command is None:
            return kvm
        if sev is None:
            raise OSError(errno.ENODEV, "no such device")
        number, address, _ = struct.unpack("=IQI", command)
        assert number == SNP_PLATFORM_STATUS
        ctypes.memmove(address, sev, len(sev))
        return 0

    return Machine(root, cpuid=cpuid, ioctl=ioctl, memlock=lambda: memlock)


SNP_PLATFORM_STATUS = 9


def snp_status(api: tuple[int, int] = (1, 55), reported: str = "04" + "00" * 6 + "d2", flags: int = 0) -> bytes:
    """What an initialised firmware of build 30 answers; its current TCB is `04000000000000d2`."""
    current = bytes.fromhex("04" + "00" * 6 + "d2")
    return struct.pack("<BBBBIII8s8s", *api, 1, 1, 30, flags, 2, current, bytes.fromhex(reported))


def misses(checks: list[ProbeCheck]) -> list[str]:
    assert all(check.ok or check.hint for check in checks), "a miss says what to do"
    return [check.name for check in checks if not check.ok]


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_of_a_kind_has_all_that_it_needs(tmp_path: Path, kind: str) -> None:
    HOSTS[kind](tmp_path)
    assert misses(for_backend(kind, machine(tmp_path))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_with_nothing_lacks_all_of_it_and_names_it(tmp_path: Path, kind: str) -> None:
    checks = for_backend(kind, Machine(tmp_path, memlock=lambda: 0))
    assert misses(checks) == [check.name for check in checks]


@pytest.mark.parametrize(
    ("kind", "path", "missing"),
    [
        ("kvm", "dev/kvm", ["KVM", "API version"]),
        ("snp", "dev/sev", ["SEV firmware"]),
        ("snp", "sys/module/kvm_amd", ["SEV-SNP in the kernel"]),
        ("snp", "sys/class/iommu", ["IOMMU"]),
        ("tdx", "sys/module/kvm_intel", ["TDX in the kernel"]),
        ("tdx", "var/run/tdx-qgs", ["quoting service"]),
        ("sgx", "dev/sgx_enclave", ["SGX enclaves"]),
        ("sgx", "dev/sgx_provision", ["SGX provisioning"]),
        ("sgx", "var/run/aesmd", ["quoting service"]),
        ("sgx", "usr/lib/x86_64-linux-gnu", ["quote provider library"]),
    ],
)
def test_each_thing_that_is_missing_is_the_one_that_is_named(tmp_path, kind, path, missing) -> None:
    HOSTS[kind](tmp_path)
    gone = tmp_path / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert misses(for_backend(kind, machine(tmp_path))) == missing


@pytest.mark.parametrize(("value", "missing"), [("1", []), ("Y\n", []), ("N\n", ["SEV-SNP in the kernel"])])
def test_the_kernels_switch_is_read(tmp_path: Path, value: str, missing: list[str]) -> None:
    snp_host(tmp_path)
    write(tmp_path, "sys/module/kvm_amd/parameters/sev_snp", value)
    assert misses(for_backend("snp", machine(tmp_path))) == missing


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        (snp_status(), []),
        (snp_status(api=(1, 50)), ["SNP firmware version"]),
        (snp_status(reported="03" + "00" * 6 + "d2"), ["reported TCB"]),
    ],
    ids=["current", "too-old", "reports-an-older-tcb"],
)
def test_the_firmware_says_its_version_and_patch_level(tmp_path: Path, status: bytes, missing: list[str]) -> None:
    snp_host(tmp_path)
    checks = for_backend("snp", machine(tmp_path, sev=status))
    assert misses(checks) == missing
    assert all(check.under == "SEV firmware" for check in checks if check.name in ("SNP firmware version", *missing))


def test_the_firmwares_words_are_shown(tmp_path: Path) -> None:
    snp_host(tmp_path)
    told = {check.name: check.detail for check in for_backend("snp", machine(tmp_path, sev=snp_status(flags=4)))}
    assert told["SNP firmware version"].startswith("1.55.30")
    assert told["reported TCB"].startswith("04000000000000d2")
    assert "VLEK" in told["reported TCB"]


def test_the_tdx_modules_version_is_shown_where_the_kernel_tells_it(tmp_path: Path) -> None:
    tdx_host(tmp_path)
    write(tmp_path, "sys/devices/faux/tdx_host/version", "1.5.24\n")
    told = {check.name: check.detail for check in for_backend("tdx", machine(tmp_path))}
    assert told["TDX module"] == "1.5.24"


def test_features_of_another_vendor_are_not_believed(tmp_path: Path) -> None:
    snp_host(tmp_path)
    write(tmp_path, "proc/cpuinfo", EPYC.replace("AuthenticAMD", "GenuineIntel"))
    assert misses(for_backend("snp", machine(tmp_path))) == ["EPYC", "SME", "SEV", "SEV-ES", "SEV-SNP"]


def test_cpuid_counts_more_than_the_kernels_words(tmp_path: Path) -> None:
    snp_host(tmp_path)
    known = {
        (0, 0): (0x10, 0, 0, 0),
        (1, 0): (0, 0, 1 << 30, 0),
        (7, 0): (0, 1, 0, 0),
        (0x8000_0000, 0): (0x8000_001F, 0, 0, 0),
        (0x8000_001F, 0): (0b01111, 51 | 5 << 6, 509, 100),
    }
    checks = for_backend("snp", machine(tmp_path, cpuid=answering(known)))
    assert misses(checks) == ["SEV-SNP"]
    said = {check.name: (check.detail, check.under) for check in checks}
    assert said["C-bit location"] == ("51", "SME")
    assert said["physical address bits given up"] == ("5", "SME")
    assert said["guests at the same time"] == ("509", "SEV")
    assert said["first ASID without SEV-ES"] == ("100", "SEV")


def test_the_memory_of_enclaves_is_the_sum_of_its_sections(tmp_path: Path) -> None:
    sgx_host(tmp_path)
    known = {
        (0, 0): (0x16, 0, 0, 0),
        (7, 0): (0, 1 << 2, 1 << 30, 0),
        (0x12, 0): (0b11, 0, 0, 0),
        (0x12, 2): (1, 0, 0x8000_0000 | 1, 0),
        (0x12, 3): (1, 0, 0, 1),
    }
    checks = for_backend("sgx", machine(tmp_path, cpuid=answering(known)))
    assert misses(checks) == []
    assert next(check.detail for check in checks if check.name == "enclave memory") == "6,144 MiB"


def test_a_leaf_beyond_the_last_is_not_there(tmp_path: Path) -> None:
    cpu = Cpu(machine(tmp_path, cpuid=answering({(0, 0): (1, 0, 0, 0), (7, 0): (1, 1, 1, 1)})))
    assert cpu.leaf(7) is None
    assert cpu.bit(7, "ebx", 0) is False


@pytest.mark.parametrize(("limit", "missing"), [(-1, []), (5 << 20, []), ((5 << 20) - 1, ["memory lock"])])
def test_memory_that_may_be_locked_is_enough_for_one_guest(tmp_path: Path, limit: int, missing: list[str]) -> None:
    snp_host(tmp_path)
    assert misses(for_backend("snp", machine(tmp_path, memlock=limit))) == missing


def test_another_version_of_kvm_is_refused(tmp_path: Path) -> None:
    host(tmp_path, XEON)
    assert misses(for_backend("kvm", machine(tmp_path, kvm=13))) == ["API version"]
    assert misses(for_backend("kvm", Machine(tmp_path))) == ["API version"]  # a file that is no KVM


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use any device")
def test_a_device_that_the_user_may_not_use_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    host(tmp_path, XEON)
    (tmp_path / "dev/kvm").chmod(0)
    (first, *_) = for_backend("kvm", machine(tmp_path))
    assert "your user may not use it" in first.detail


def test_a_protected_guest_is_known_by_its_devices(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/config/tsm/report").mkdir(parents=True)
    write(tmp_path, "dev/sev-guest")
    assert misses(list(guest(Machine(tmp_path)))) == ["TDX guest"]


def test_looking_changes_nothing(tmp_path: Path) -> None:
    snp_host(tmp_path)

    def state() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))

    before = state()
    for kind in KINDS:
        for_backend(kind, machine(tmp_path))
    assert state() == before


@pytest.mark.skipif(not os.access("/dev/cpu/0/cpuid", os.R_OK), reason="this machine shows no CPUID")
def test_cpuid_of_this_machine_says_what_its_kernel_says() -> None:
    cpu = Cpu(Machine())
    registers = cpu.leaf(0)
    assert registers is not None
    assert struct.pack("<3I", registers.ebx, registers.edx, registers.ecx).decode() == cpu.vendor
    assert cpu.bit(1, "ecx", 30) == ("rdrand" in cpu.flags)
    assert cpu.bit(7, "ebx", 0) == ("fsgsbase" in cpu.flags)
