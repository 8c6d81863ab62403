"""The layout of an SEV-SNP attestation report (SEV-SNP firmware ABI, 56860, section 7.3, table 23), versions 2 to 5."""

from __future__ import annotations

from typing import Final

from .errors import MalformedEvidence
from .model import Evidence

SIZE: Final = 0x4A0
"""Bytes of a report, in all versions."""
SIGNED: Final = 0x2A0
"""Bytes of a report that are signed, from its start."""
VERSIONS: Final = range(2, 6)
FIRST_WITH_CPUID: Final = 3
FIRST_WITH_MITIGATIONS: Final = 5

GUEST_POLICY_BITS: Final = {
    "smt": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl": 21,
    "aes_256_xts": 22,
    "rapl_disabled": 23,
    "ciphertext_hiding": 24,
    "page_swap_disabled": 25,
}
"""Bits of POLICY by name (table 9)."""
_POLICY_ONE = 1 << 17
_POLICY_ZERO = ~((1 << 26) - 1)

PLATFORM_INFO_BITS: Final = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding": 4,
    "alias_check_complete": 5,
    "tio": 7,
}
"""Bits of PLATFORM_INFO by name (table 24). Others are left to future firmware: shipped firmware sets bit 6."""

SIGNING_KEYS: Final = {0: "VCEK", 1: "VLEK"}


class SnpEvidence(Evidence, frozen=True, kw_only=True):
    """A report, field by field; bytes as they stand in it."""

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: bytes
    platform_info: int
    author_key_enabled: bool
    mask_chip_key: bool
    signing_key: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    """Family, model, stepping; from version 3."""
    chip_id: bytes
    committed_tcb: bytes
    current_firmware: tuple[int, int, int]
    """Major, minor, build."""
    committed_firmware: tuple[int, int, int]
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    r: int
    s: int
    reserved: tuple[str, ...]
    """Names of reserved fields that do not have the value which the specification demands."""


def parse(data: bytes) -> SnpEvidence:
    """Read a report of 1184 bytes. Raises `MalformedEvidence` for another size or an unknown version."""
    if len(data) != SIZE:
        raise MalformedEvidence(f"an SNP report has {SIZE} bytes, not {len(data)}")
    version = _u32(data, 0)
    if version not in VERSIONS:
        raise MalformedEvidence(f"SNP report version {version} is not one of 2 to 5")
    flags = _u32(data, 0x48)
    mitigations = version >= FIRST_WITH_MITIGATIONS
    return SnpEvidence(
        kind="snp",
        raw=data,
        version=version,
        guest_svn=_u32(data, 0x04),
        policy=_u64(data, 0x08),
        family_id=data[0x10:0x20],
        image_id=data[0x20:0x30],
        vmpl=_u32(data, 0x30),
        signature_algorithm=_u32(data, 0x34),
        current_tcb=data[0x38:0x40],
        platform_info=_u64(data, 0x40),
        author_key_enabled=bool(flags & 1),
        mask_chip_key=bool(flags & 2),
        signing_key=flags >> 2 & 7,
        report_data=data[0x50:0x90],
        measurement=data[0x90:0xC0],
        host_data=data[0xC0:0xE0],
        id_key_digest=data[0xE0:0x110],
        author_key_digest=data[0x110:0x140],
        report_id=data[0x140:0x160],
        report_id_ma=data[0x160:0x180],
        reported_tcb=data[0x180:0x188],
        cpuid=(data[0x188], data[0x189], data[0x18A]) if version >= FIRST_WITH_CPUID else None,
        chip_id=data[0x1A0:0x1E0],
        committed_tcb=data[0x1E0:0x1E8],
        current_firmware=(data[0x1EA], data[0x1E9], data[0x1E8]),
        committed_firmware=(data[0x1EE], data[0x1ED], data[0x1EC]),
        launch_tcb=data[0x1F0:0x1F8],
        launch_mitigations=_u64(data, 0x1F8) if mitigations else None,
        current_mitigations=_u64(data, 0x200) if mitigations else None,
        r=int.from_bytes(data[0x2A0:0x2E8], "little"),
        s=int.from_bytes(data[0x2E8:0x330], "little"),
        reserved=_reserved(data, version, flags),
    )


def recognise(data: bytes) -> bool:
    """Whether the bytes have the size and a version of a report."""
    return len(data) == SIZE and _u32(data, 0) in VERSIONS


def flags_of(value: int, bits: dict[str, int]) -> dict[str, bool]:
    """The named bits of a bit field."""
    return {name: bool(value >> bit & 1) for name, bit in bits.items()}


def _reserved(data: bytes, version: int, flags: int) -> tuple[str, ...]:
    policy = _u64(data, 0x08)
    ranges = {
        "0x04C": data[0x4C:0x50],
        "0x188": data[0x18B if version >= FIRST_WITH_CPUID else 0x188 : 0x1A0],
        "0x1EB": data[0x1EB:0x1EC],
        "0x1EF": data[0x1EF:0x1F0],
        "0x1F8": data[0x208 if version >= FIRST_WITH_MITIGATIONS else 0x1F8 : SIGNED],
        "signature": data[0x330:SIZE],
    }
    wrong = [name for name, field in ranges.items() if any(field)]
    if flags >> 5:
        wrong.append("0x048 bits 31:5")
    if not policy & _POLICY_ONE or policy & _POLICY_ZERO:
        wrong.append("POLICY")
    return tuple(wrong)


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def _u64(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")
