"""What each kind of Keep needs of its machine, check by check (Enarx's `platform info`, and what came since).

A check of something that is part of something else says so in `under`. Looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from enarx_deploy.machine.cpu import FEATURES, SEV, SGX, Cpu
from enarx_deploy.machine.sev import snp_status
from enarx_deploy.machine.tree import Machine
from enarx_deploy.models import ProbeCheck

_KVM_API = 12  # the only version there has been since Linux 2.6.22
_SNP_API = (1, 51)  # of SEV-SNP's firmware, the least that its first release had
_MEMLOCK_FOR_ONE = 5 << 20  # bytes that one SNP guest locks, after Enarx's estimate
_TRUE = ("1", "Y", "y")
_BIOS = "switch it on in the machine's firmware, or take a processor that has it"
_AMD_FEATURES = (
    ("SME", "sme", 0, "CPU"),
    ("SEV", "sev", 1, "SME"),
    ("SEV-ES", "sev_es", 3, "SEV"),
    ("SEV-SNP", "sev_snp", 4, "SEV"),
)
"""Name, word of the kernel, bit of the leaf SEV, and what it is a part of."""
_TDX_MODULE = "/sys/devices/faux/tdx_host/version"
_EPC_SUBLEAVES = range(2, 10)
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
_PROVIDER = "libdcap_quoteprov.so"


def kvm(machine: Machine) -> Iterator[ProbeCheck]:
    """Virtual machines by KVM."""
    cpu = Cpu(machine)
    yield _device(machine, "KVM", "/dev/kvm", "load kvm_intel or kvm_amd, and switch virtualization on in the firmware")
    version = machine.kvm_version()
    yield _check(
        "API version",
        version == _KVM_API,
        f"{version}, and {_KVM_API} is needed" if version is not None else "KVM does not answer",
        "see the check of /dev/kvm",
        under="KVM",
    )
    yield _cpu(cpu)
    for name, found in (
        ("virtualization", bool(cpu.flags & {"vmx", "svm"})),
        ("FSGSBASE", cpu.has("fsgsbase", FEATURES, "ebx", 0)),
        ("RDRAND", cpu.has("rdrand", 1, "ecx", 30)),
    ):
        yield _check(name, found, "is there" if found else "is not there", _BIOS, under="CPU")


def snp(machine: Machine) -> Iterator[ProbeCheck]:
    """A host of SEV-SNP guests."""
    cpu = Cpu(machine)
    yield from kvm(machine)
    is_amd = cpu.vendor == "AuthenticAMD"
    is_epyc = is_amd and "EPYC" in cpu.model
    yield _check("EPYC", is_epyc, cpu.model or "unknown model", "SEV-SNP needs an EPYC of generation 3 or later", "CPU")
    for name, flag, number, under in _AMD_FEATURES:
        found = is_amd and cpu.has(flag, SEV, "eax", number)
        yield _check(name, found, "is there" if found else "is not there", _BIOS, under=under)
    yield from _encryption_numbers(cpu)
    yield _switch(machine, "SEV-SNP in the kernel", "/sys/module/kvm_amd/parameters/sev_snp", "kvm_amd.sev_snp=1")
    yield _device(machine, "SEV firmware", "/dev/sev", "load the module ccp; SEV-SNP must be on in the firmware")
    yield from _snp_firmware(machine)
    yield _iommu(machine)
    yield _memory_lock(machine)


def tdx(machine: Machine) -> Iterator[ProbeCheck]:
    """A host of TDX guests."""
    cpu = Cpu(machine)
    yield from kvm(machine)
    found = cpu.vendor == "GenuineIntel" and "tdx_host_platform" in cpu.flags
    yield _check("TDX", found, "is there" if found else "is not there", _BIOS, under="CPU")
    yield _switch(machine, "TDX in the kernel", "/sys/module/kvm_intel/parameters/tdx", "kvm_intel.tdx=1")
    yield from _tdx_module(machine)
    yield _iommu(machine)
    yield _device(machine, "SGX enclaves", "/dev/sgx_enclave", "quotes are signed by an enclave: switch SGX on")
    yield _there(
        machine,
        "quoting service",
        "/var/run/tdx-qgs/qgs.socket",
        "install and start Intel's tdx-qgs, which signs quotes",
    )


def sgx(machine: Machine) -> Iterator[ProbeCheck]:
    """A host of SGX enclaves."""
    cpu = Cpu(machine)
    yield _device(machine, "SGX enclaves", "/dev/sgx_enclave", "use Linux 5.11 or later, with SGX and FLC switched on")
    yield _device(machine, "SGX provisioning", "/dev/sgx_provision", "let your user use it: quotes need its key")
    yield _cpu(cpu)
    is_intel = cpu.vendor == "GenuineIntel"
    for name, flag, leaf, register, number in (
        ("SGX", "sgx", FEATURES, "ebx", 2),
        ("flexible launch control", "sgx_lc", FEATURES, "ecx", 30),
    ):
        found = is_intel and cpu.has(flag, leaf, register, number)  # type: ignore[arg-type]  # a register of the table above
        yield _check(name, found, "is there" if found else "is not there", _BIOS, under="CPU")
    yield from _enclave_memory(cpu)
    yield _there(
        machine, "quoting service", "/var/run/aesmd/aesm.socket", "install and start Intel's aesmd, which signs quotes"
    )
    yield _provider_library(machine)


def guest(machine: Machine) -> Iterator[ProbeCheck]:
    """This machine as a guest that is itself protected, where a Keep in it finds evidence."""
    tsm = machine.has("sys/kernel/config/tsm/report")
    yield _check(
        "configfs-tsm",
        tsm,
        "/sys/kernel/config/tsm/report is there" if tsm else "/sys/kernel/config/tsm/report is not there",
        "in a protected guest: mount -t configfs none /sys/kernel/config, with Linux 6.7 or later",
    )
    for name, path in (("SNP guest", "/dev/sev-guest"), ("TDX guest", "/dev/tdx_guest")):
        yield _there(machine, name, path, "only a protected guest has it: load sev-guest or tdx-guest there")


CHECKS: dict[str, Callable[[Machine], Iterator[ProbeCheck]]] = {"kvm": kvm, "snp": snp, "tdx": tdx, "sgx": sgx}
KINDS = tuple(CHECKS)
"""Kinds of Keeps whose needs are known here, by the names of their backends."""


def for_backend(kind: str, machine: Machine | None = None) -> list[ProbeCheck]:
    """The checks for a kind of Keep, one of KINDS."""
    return list(CHECKS[kind](machine or Machine()))


def _check(name: str, ok: bool, detail: str, hint: str = "", under: str = "") -> ProbeCheck:
    return ProbeCheck(name=name, ok=ok, detail=detail, hint="" if ok else hint, under=under)


def _there(machine: Machine, name: str, path: str, hint: str) -> ProbeCheck:
    found = machine.has(path.lstrip("/"))
    return _check(name, found, f"{path} is {'' if found else 'not '}there", hint)


def _device(machine: Machine, name: str, path: str, hint: str) -> ProbeCheck:
    if not machine.has(path.lstrip("/")):
        return _check(name, False, f"{path} is not there", hint)
    usable = machine.can_be_used(path.lstrip("/"))
    detail = f"{path} is there" if usable else f"{path} is there, and your user may not use it"
    return _check(name, usable, detail, f"let your user read and write {path}, as by its group")


def _switch(machine: Machine, name: str, path: str, parameter: str) -> ProbeCheck:
    value = machine.text(path.lstrip("/"))
    detail = f"{path} is {value}" if value is not None else f"{path} is not there"
    return _check(name, value in _TRUE, detail, f"start the kernel with {parameter}; it needs support for that")


def _cpu(cpu: Cpu) -> ProbeCheck:
    known = bool(cpu.vendor)
    return _check(
        "CPU", known, f"{cpu.model or 'unknown model'} ({cpu.vendor or 'unknown vendor'})", "use x86-64 Linux"
    )


def _encryption_numbers(cpu: Cpu) -> Iterator[ProbeCheck]:
    """What CPUID says beside yes and no; nothing where it may not be asked."""
    registers = cpu.leaf(SEV) if cpu.vendor == "AuthenticAMD" else None
    if registers is None:
        return
    yield _check("page flush MSR", bool(registers.eax >> 2 & 1), "by CPUID", _BIOS, under="SEV")
    for name, number, under in (
        ("C-bit location", registers.ebx & 0x3F, "SME"),
        ("physical address bits given up", registers.ebx >> 6 & 0x3F, "SME"),
        ("guests at the same time", registers.ecx, "SEV"),
        ("first ASID without SEV-ES", registers.edx, "SEV"),
    ):
        yield _check(name, True, str(number), under=under)


def _snp_firmware(machine: Machine) -> Iterator[ProbeCheck]:
    """The firmware's version and patch level; nothing where it does not answer."""
    status = snp_status(machine)
    if status is None:
        return
    yield _check(
        "SNP firmware version",
        status.api >= _SNP_API,
        f"{status.version}, and {_SNP_API[0]}.{_SNP_API[1]} is needed",
        "update the machine's firmware, or load a newer SEV firmware (linux-firmware, amd/)",
        under="SEV firmware",
    )
    level = status.reported_tcb.hex()
    behind = "" if status.reported_tcb == status.current_tcb else f", behind the current {status.current_tcb.hex()}"
    yield _check(
        "reported TCB",
        not behind,
        f"{level}{behind}; reports are signed by a {'VLEK' if status.vlek else 'VCEK'}",
        "policies may ask for the newer one: `snphost commit`, and `snphost config set` to report it",
        under="SEV firmware",
    )


def _tdx_module(machine: Machine) -> Iterator[ProbeCheck]:
    """The module's version; nothing where the kernel does not tell it."""
    version = machine.text(_TDX_MODULE.lstrip("/"))
    if version:
        yield _check("TDX module", True, version, under="TDX in the kernel")


def _iommu(machine: Machine) -> ProbeCheck:
    units = machine.entries("sys/class/iommu")
    detail = f"{len(units)} units" if units else "/sys/class/iommu has none"
    return _check("IOMMU", bool(units), detail, "switch it on in the firmware; no amd_iommu=off or intel_iommu=off")


def _memory_lock(machine: Machine) -> ProbeCheck:
    limit = machine.memlock()
    if limit < 0:
        return _check("memory lock", True, "no limit")
    return _check(
        "memory lock",
        limit >= _MEMLOCK_FOR_ONE,
        f"{limit >> 10:,} KiB; about {_MEMLOCK_FOR_ONE >> 10:,} are needed for each Keep",
        f"raise it: `ulimit -l {_MEMLOCK_FOR_ONE >> 10}` or memlock in limits.conf(5)",
    )


def _provider_library(machine: Machine) -> ProbeCheck:
    """By which aesmd has what is signed with a quote: Intel's, or that of a cloud, which has the same name."""
    places = [f"{folder}/{_PROVIDER}{version}" for folder in _LIBRARIES for version in (".1", "")]
    found = next((place for place in places if machine.has(place.lstrip("/"))), "")
    detail = f"{found} is there" if found else f"{_PROVIDER} is in none of {', '.join(_LIBRARIES)}"
    hint = "install libsgx-dcap-default-qpl, or the library of your cloud, and name its cache of certificates"
    return _check("quote provider library", bool(found), detail, hint, under="quoting service")


def _enclave_memory(cpu: Cpu) -> Iterator[ProbeCheck]:
    """SGX's versions and memory by CPUID; nothing where it may not be asked."""
    versions = cpu.leaf(SGX) if cpu.vendor == "GenuineIntel" else None
    if versions is None:
        return
    for number, name in enumerate(("SGX1", "SGX2")):
        found = bool(versions.eax >> number & 1)
        yield _check(name, found, "is there" if found else "is not there", _BIOS, under="SGX")
    total = 0
    for subleaf in _EPC_SUBLEAVES:
        section = cpu.leaf(SGX, subleaf)
        if section is None or section.eax & 0xF != 1:
            break
        total += (section.edx & 0xFFFFF) << 32 | section.ecx & 0xFFFF_F000
    yield _check("enclave memory", total > 0, f"{total >> 20:,} MiB", _BIOS, under="SGX")
