"""Section `[snp]` of a policy, and its appraisal: what is wanted of the guest, the platform and the firmware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from . import revocation
from .amd_products import LINES, Tcb, at_least, show
from .checks import Rule, Sheet
from .errors import InvalidArgument, PolicyError
from .model import Claims
from .section import Bit, Section, constrained, disjoint, hexadecimal, listed
from .snp import SnpClaims
from .snp_report import VERSIONS

_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}")
_ABI = "AMD 56860 (SEV-SNP ABI), "

RULES: Final = {
    "snp.policy.workload": Rule(
        "Add the launch measurement, or the digest of the key that signs the ID block, to the policy.",
        _ABI + "section 4.10, launch digest",
    ),
    "snp.policy.denied": Rule("This workload or key is on the policy's deny-list.", _ABI + "table 23"),
    "snp.policy.version": Rule(
        "Add the report version to `report_versions` of the policy.", _ABI + "table 23, VERSION"
    ),
    "snp.policy.signing-key": Rule(
        "Add the kind of key to `signing_keys` of the policy.", _ABI + "table 23, SIGNING_KEY"
    ),
    "snp.policy.vmpl": Rule(
        "The report was asked for at another privilege level; set `vmpl` if a paravisor or SVSM is in use.",
        _ABI + "table 23, VMPL",
    ),
    "snp.policy.guest": Rule(
        "Start the guest with another launch policy, or change `guest_policy`.", _ABI + "table 9, guest policy"
    ),
    "snp.policy.platform": Rule(
        "Have the host's firmware set up otherwise, or change `platform_info`.", _ABI + "table 24, PLATFORM_INFO"
    ),
    "snp.policy.abi": Rule(
        "Start the guest with a launch policy that asks for an ABI of these versions.", _ABI + "table 9"
    ),
    "snp.policy.tcb": Rule("Update the host's firmware and fetch the new endorsement key.", _ABI + "table 3"),
    "snp.policy.launch-tcb": Rule("Restart the guest on updated firmware.", _ABI + "table 23, LAUNCH_TCB"),
    "snp.policy.firmware": Rule("Update the host's SEV firmware.", _ABI + "table 23, CURRENT_BUILD and after"),
    "snp.policy.provisional": Rule(
        "Have the host commit its firmware (SNP_COMMIT), or set `provisional_firmware`.", _ABI + "section 3.3"
    ),
    "snp.policy.guest-svn": Rule("Deploy a newer version of the guest.", _ABI + "table 23, GUEST_SVN"),
    "snp.policy.identity": Rule("The guest's FAMILY_ID, IMAGE_ID or HOST_DATA is not a wanted one.", _ABI + "table 23"),
    "snp.policy.platform-id": Rule(
        "Add the chip or the provider to the policy's allow-list.", _ABI + "table 23, CHIP_ID"
    ),
    "snp.policy.mitigations": Rule("Update the host's firmware and restart the guest.", _ABI + "table 23, MIT_VECTOR"),
    "snp.policy.revocation": Rule(
        "Give AMD's current revocation list, or set `revocation` to prefer or off.", "RFC 5280, section 6.3"
    ),
}


class GuestPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each bit of the guest's launch policy must be."""

    debug: Bit = "forbid"
    """The host may read and change the guest's memory."""
    migrate_ma: Bit = "forbid"
    """A migration agent may take the guest elsewhere."""
    smt: Bit = "any"
    """The guest may run where hyper-threading is on."""
    single_socket: Bit = "any"
    cxl: Bit = "any"
    """The guest may run where CXL devices or memory are populated."""
    aes_256_xts: Bit = "any"
    rapl_disabled: Bit = "any"
    ciphertext_hiding: Bit = "any"
    page_swap_disabled: Bit = "any"


class PlatformInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each bit of the platform's state must be."""

    smt: Bit = "any"
    tsme: Bit = "any"
    ecc: Bit = "any"
    rapl_disabled: Bit = "any"
    ciphertext_hiding: Bit = "any"
    alias_check_complete: Bit = "any"
    """The firmware has looked for aliased memory (BadRAM); recommended: `require`."""
    tio: Bit = "any"


class SnpPolicy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[snp]`. Lists hold lower-case hexadecimal; an empty allow-list does not constrain."""

    measurements: tuple[str, ...] = ()
    """Accepted launch measurements, 48 bytes."""
    deny_measurements: tuple[str, ...] = ()
    id_keys: tuple[str, ...] = ()
    """Accepted SHA-384 digests of the key that signed the ID block."""
    deny_id_keys: tuple[str, ...] = ()
    author_keys: tuple[str, ...] = ()
    """Accepted SHA-384 digests of the key that signed the ID key; AUTHOR_KEY_EN must be set."""
    deny_author_keys: tuple[str, ...] = ()
    host_data: tuple[str, ...] = ()
    """Accepted HOST_DATA, 32 bytes."""
    family_ids: tuple[str, ...] = ()
    image_ids: tuple[str, ...] = ()
    chip_ids: tuple[str, ...] = ()
    """Accepted chips: CHIP_ID, 64 bytes (8 are enough for Turin)."""
    csp_ids: tuple[str, ...] = ()
    """Accepted providers of a VLEK; a report by a VLEK is of no particular chip."""
    report_versions: tuple[int, ...] = tuple(VERSIONS)
    signing_keys: tuple[Literal["VCEK", "VLEK"], ...] = ("VCEK", "VLEK")
    vmpl: tuple[int, ...] = (0,)
    guest_policy: GuestPolicy = GuestPolicy()
    platform_info: PlatformInfo = PlatformInfo()
    minimum_abi: str = "0.0"
    """Least ABI version that the guest's launch policy asks for."""
    abi_below: str | None = None
    """What that version must be below; there is no such bound by default."""
    minimum_firmware: str = "0.0.0"
    """Least version of the firmware in use: major.minor.build."""
    minimum_tcb: Mapping[str, Tcb] = {}
    """By product line: least of each component, REPORTED and COMMITTED. If given, other lines are refused."""
    minimum_launch_tcb: Mapping[str, Tcb] = {}
    """The same for the firmware under which the guest was started."""
    minimum_guest_svn: int = 0
    # The minimum applies to what is committed as well: rolling provisional firmware back cannot take a platform below
    # the level that was appraised.
    provisional_firmware: Literal["any", "forbid"] = "any"
    """Whether firmware that the host can still roll back may be in use."""
    required_mitigations: int = 0
    """Bits that must be set in both mitigation vectors (report version 5)."""
    revocation: revocation.Mode = "require"

    def __post_init__(self) -> None:
        super().__post_init__()
        hexadecimal(
            self,
            {
                "measurements": (48,),
                "deny_measurements": (48,),
                "id_keys": (48,),
                "deny_id_keys": (48,),
                "author_keys": (48,),
                "deny_author_keys": (48,),
                "host_data": (32,),
                "family_ids": (16,),
                "image_ids": (16,),
                "chip_ids": (8, 64),
            },
        )
        for name in ("minimum_abi", "abi_below", "minimum_firmware"):
            value = getattr(self, name)
            if value is not None and _VERSION.fullmatch(value) is None:
                raise PolicyError(f"`{name}` is not a version of up to three numbers")
        for minimum in (self.minimum_tcb, self.minimum_launch_tcb):
            _check_minimum(minimum)
        disjoint(
            self,
            ("measurements", "deny_measurements"),
            ("id_keys", "deny_id_keys"),
            ("author_keys", "deny_author_keys"),
        )
        constrained(self, "measurements", "id_keys", "author_keys")


def _check_minimum(minimum: Mapping[str, Tcb]) -> None:
    for line, tcb in minimum.items():
        if line not in LINES or not set(tcb) <= {name for name in LINES[line].tcb if name}:
            raise PolicyError(f"minimum TCB: {line!r} is no product line, or has no such component ({show(tcb)})")


def appraise(claims: Claims, policy: SnpPolicy, sheet: Sheet) -> None:
    """Compare a report with the section, rule by rule. Raises `InvalidArgument` for claims of another kind."""
    if not isinstance(claims, SnpClaims):
        raise InvalidArgument("snp_policy.appraise needs SnpClaims")
    _appraise_workload(claims, policy, sheet)
    _appraise_guest(claims, policy, sheet)
    _appraise_platform(claims, policy, sheet)
    revocation.appraise(claims.revocation, policy.revocation, sheet, "snp.policy.revocation")


def _appraise_workload(claims: SnpClaims, policy: SnpPolicy, sheet: Sheet) -> None:
    if policy.any_workload:
        sheet.skip("snp.policy.workload", "the policy accepts any workload", claims.measurement)
    else:
        wanted = [
            _among(claims.measurement, policy.measurements),
            _among(claims.id_key_digest, policy.id_keys),
            _among(claims.author_key_digest, policy.author_keys)
            and (claims.author_key_enabled or not policy.author_keys),
        ]
        sheet.check(
            "snp.policy.workload",
            all(wanted),
            listed({"measurement": policy.measurements, "ID key": policy.id_keys, "author key": policy.author_keys}),
            f"measurement {claims.measurement}, ID key {claims.id_key_digest}, author key {claims.author_key_digest}",
        )
    denied = [
        value
        for value, deny in (
            (claims.measurement, policy.deny_measurements),
            (claims.id_key_digest, policy.deny_id_keys),
            (claims.author_key_digest, policy.deny_author_keys),
        )
        if value in deny
    ]
    sheet.check("snp.policy.denied", not denied, "on no deny-list", ", ".join(denied) or "on none")


def _appraise_guest(claims: SnpClaims, policy: SnpPolicy, sheet: Sheet) -> None:
    sheet.check("snp.policy.vmpl", claims.vmpl in policy.vmpl, _join(policy.vmpl), claims.vmpl)
    wrong = _bits(claims.policy, policy.guest_policy)
    sheet.check("snp.policy.guest", not wrong, "no bit against the policy", "; ".join(wrong) or "none")
    abi, asked, firmware = (_version(text) for text in (policy.minimum_abi, claims.policy_abi, claims.current_firmware))
    # The firmware starts no guest that asks for a newer ABI than its own.
    abi_ok = abi <= asked <= firmware and (policy.abi_below is None or asked < _version(policy.abi_below))
    wanted = f"{policy.minimum_abi} to {claims.current_firmware}"
    wanted += f", below {policy.abi_below}" if policy.abi_below else ""
    sheet.check("snp.policy.abi", abi_ok, wanted, claims.policy_abi)
    svn = claims.guest_svn >= policy.minimum_guest_svn
    sheet.check("snp.policy.guest-svn", svn, f"at least {policy.minimum_guest_svn}", claims.guest_svn)
    identity = (
        _among(claims.host_data, policy.host_data)
        and _among(claims.family_id, policy.family_ids)
        and _among(claims.image_id, policy.image_ids)
    )
    shown = f"HOST_DATA {claims.host_data}, FAMILY_ID {claims.family_id}, IMAGE_ID {claims.image_id}"
    sheet.check("snp.policy.identity", identity, "as the policy lists them", shown)


def _appraise_platform(claims: SnpClaims, policy: SnpPolicy, sheet: Sheet) -> None:
    sheet.check(
        "snp.policy.version", claims.version in policy.report_versions, _join(policy.report_versions), claims.version
    )
    sheet.check(
        "snp.policy.signing-key",
        claims.signing_key in policy.signing_keys,
        _join(policy.signing_keys),
        claims.signing_key,
    )
    wrong = _bits(claims.platform_info, policy.platform_info)
    sheet.check("snp.policy.platform", not wrong, "no bit against the policy", "; ".join(wrong) or "none")
    certain = {name: min(value, claims.committed_tcb.get(name, -1)) for name, value in claims.reported_tcb.items()}
    _minimum(certain, claims.product, policy.minimum_tcb, sheet, "snp.policy.tcb")
    _minimum(claims.launch_tcb, claims.product, policy.minimum_launch_tcb, sheet, "snp.policy.launch-tcb")
    new = _version(claims.current_firmware) >= _version(policy.minimum_firmware)
    sheet.check("snp.policy.firmware", new, f"at least {policy.minimum_firmware}", claims.current_firmware)
    committed = (claims.current_firmware, claims.current_tcb) == (claims.committed_firmware, claims.committed_tcb)
    sheet.check(
        "snp.policy.provisional",
        committed or policy.provisional_firmware == "any",
        "any" if policy.provisional_firmware == "any" else "committed firmware",
        "committed" if committed else f"current {show(claims.current_tcb)}, committed {show(claims.committed_tcb)}",
    )
    needed = policy.required_mitigations
    vectors = (claims.launch_mitigations or 0) & (claims.current_mitigations or 0)
    sheet.check("snp.policy.mitigations", vectors & needed == needed, f"{needed:#x}", f"{vectors:#x}")
    chips = [chip.ljust(128, "0") for chip in policy.chip_ids]
    known = _among(claims.chip_id.ljust(128, "0"), chips) and _among(claims.csp_id or "", policy.csp_ids)
    # A provider's key signs for all of its chips, so that its CHIP_ID is the firmware's word like any other field's.
    shown = f"{claims.chip_id}, provider {claims.csp_id}"
    sheet.check("snp.policy.platform-id", known, "a platform that the policy lists, if it lists any", shown)


def _minimum(tcb: Tcb, line: str, minimums: Mapping[str, Tcb], sheet: Sheet, id: str) -> None:
    minimum = minimums.get(line)
    met = at_least(tcb, minimum) if minimum is not None else not minimums
    sheet.check(id, met, "any" if not minimums else show(minimum or {}) or f"no minimum for {line}", show(tcb))


def _bits(actual: Mapping[str, bool], wanted: GuestPolicy | PlatformInfo) -> list[str]:
    """The bits that are not as wanted."""
    return [
        f"{name} is {'set' if value else 'clear'}"
        for name, value in actual.items()
        if getattr(wanted, name) == ("forbid" if value else "require")
    ]


def _among(value: str, allowed: Sequence[str]) -> bool:
    """Whether a value is on an allow-list; an empty list allows all."""
    return not allowed or value in allowed


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _join(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values)
