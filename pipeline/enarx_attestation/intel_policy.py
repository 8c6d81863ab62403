"""Sections `[sgx]` and `[tdx]` of a policy, and their appraisal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from . import revocation
from .checks import Rule, Sheet
from .errors import InvalidArgument, PolicyError
from .intel_claims import IntelClaims, SgxClaims, TdxClaims
from .model import Claims
from .section import Bit, Section, constrained, disjoint, hexadecimal, listed, misplaced

Accepted = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
]
"""Statuses that a policy may accept. `Revoked` is none of them."""

SGX_ATTRIBUTES: Final = {
    "debug": 1,
    "provision_key": 4,
    "einittoken_key": 5,
    "cet": 6,
    "kss": 7,
    "aex_notify": 10,
}
"""Bits of ATTRIBUTES.FLAGS (Intel SDM volume 3D, section 35.7.1). INIT and MODE64BIT are 0 and 2."""
_SGX_INIT: Final = 1 << 0

TD_ATTRIBUTES: Final = {
    "icssd": 16,
    "lass": 27,
    "sept_ve_disable": 28,
    "migratable": 29,
    "pks": 30,
    "kl": 31,
    "tpa": 62,
    "perfmon": 63,
}
"""Bits of TD ATTRIBUTES (Intel TDX Module ABI, section 3.4.1). The lowest byte, TUD, opens a domain to its host."""
_TUD: Final = 0xFF
XFAM_FIXED_1: Final = 0x3
XFAM_KNOWN: Final = 0x0006DBE7
"""State components that TDX defines (Intel TDX Module ABI, section 3.4.2)."""

_PCS = "Intel PCS API v4, "
_COMMON = {
    "policy.workload": Rule("Add the Keep's measurement or signer to the policy.", "RFC 9334, section 8.5"),
    "policy.denied": Rule("This workload or signer is on the policy's deny-list.", "RFC 9334, section 8.5"),
    "policy.status": Rule(
        "Update the platform (the advisories say what for), or add the status to `accept_statuses`.",
        _PCS + "Determine TCB status",
    ),
    "policy.advisories": Rule(
        "Update the platform, or change the lists of advisories.", _PCS + "Get TCB Info, advisoryIDs"
    ),
    "policy.evaluation": Rule("Fetch collateral of a newer TCB recovery.", _PCS + "tcbEvaluationDataNumber"),
    "policy.collateral-age": Rule("Fetch collateral anew.", _PCS + "issueDate"),
    "policy.revocation": Rule(
        "Give Intel's current revocation lists, or set `revocation` to prefer or off.", "RFC 5280, section 6.3"
    ),
    "policy.platform": Rule(
        "Use a platform that was set up otherwise, or change the section's fields on platforms.",
        "Intel SGX PCK Certificate Profile, section 1.3.5",
    ),
    "policy.platform-id": Rule("Add the platform to the policy's allow-list.", "Intel SGX PCK Certificate Profile"),
    "policy.attributes": Rule(
        "Build the Keep without debugging and unwanted attributes, or change the policy.",
        "Intel SDM and TDX Module ABI",
    ),
}
_SGX = {
    "policy.identity": Rule("Build or configure the enclave as the policy asks.", "Intel SDM volume 3D, section 35.15"),
}
_TDX = {
    "policy.measurement": Rule(
        "Start the domain from the image that the policy names.", "Intel TDX Module ABI, TDINFO"
    ),
    "policy.debug": Rule(
        "The host can read and change a domain in debug mode: start it otherwise.", "TD ATTRIBUTES.TUD"
    ),
    "policy.service-td": Rule(
        "A service domain may act on this one; set `service_td` if that is wanted.", "Intel TDX Module ABI, SERVTD_HASH"
    ),
    "policy.xfam": Rule(
        "Start the domain with the state components that the policy lists.", "Intel TDX Module ABI, XFAM"
    ),
}
RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "sgx": {f"sgx.{name}": rule for name, rule in {**_COMMON, **_SGX}.items()},
    "tdx": {f"tdx.{name}": rule for name, rule in {**_COMMON, **_TDX}.items()},
}


class IntelPolicy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the two sections have in common. Lists hold hexadecimal in lower case; an empty one does not constrain."""

    accept_statuses: tuple[Accepted, ...] = ("UpToDate",)
    allow_advisories: tuple[str, ...] | None = None
    """If given, every advisory that applies must be among these."""
    deny_advisories: tuple[str, ...] = ()
    platform_grace_days: int = 0
    """Days after a level's date for which a platform or module that is OutOfDate counts as up to date."""
    qe_grace_days: int = 0
    """The same for the quoting enclave."""
    minimum_evaluation_number: int = 0
    """Least tcbEvaluationDataNumber: keeps collateral of before a TCB recovery from being played back."""
    maximum_collateral_age_days: int | None = None
    revocation: revocation.Mode = "require"
    fmspcs: tuple[str, ...] = ()
    ppids: tuple[str, ...] = ()
    platform_instance_ids: tuple[str, ...] = ()
    sgx_types: tuple[Literal["standard", "scalable", "scalable-with-integrity"], ...] = ()
    """Accepted kinds of memory protection; empty accepts all."""
    dynamic_platform: Bit = "any"
    cached_keys: Bit = "any"
    smt: Bit = "any"

    def __post_init__(self) -> None:
        super().__post_init__()
        hexadecimal(self, {"fmspcs": (6,), "ppids": (16,), "platform_instance_ids": (16,)})
        for name in ("platform_grace_days", "qe_grace_days", "minimum_evaluation_number"):
            if not 0 <= getattr(self, name) <= 1_000_000:
                raise PolicyError(f"`{name}` is not between 0 and 1000000")
        if self.maximum_collateral_age_days is not None and not 0 <= self.maximum_collateral_age_days <= 1_000_000:
            raise PolicyError("`maximum_collateral_age_days` is not between 0 and 1000000")


class SgxPolicy(IntelPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[sgx]`."""

    mrenclaves: tuple[str, ...] = ()
    deny_mrenclaves: tuple[str, ...] = ()
    mrsigners: tuple[str, ...] = ()
    deny_mrsigners: tuple[str, ...] = ()
    isv_prod_ids: tuple[int, ...] = ()
    minimum_isv_svn: int = 0
    isv_ext_prod_ids: tuple[str, ...] = ()
    isv_family_ids: tuple[str, ...] = ()
    config_ids: tuple[str, ...] = ()
    minimum_config_svn: int = 0
    misc_select: tuple[str, ...] = ()
    debug: Bit = "forbid"
    provision_key: Bit = "any"
    einittoken_key: Bit = "any"
    cet: Bit = "any"
    kss: Bit = "any"
    aex_notify: Bit = "any"

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {"mrenclaves": 32, "deny_mrenclaves": 32, "mrsigners": 32, "deny_mrsigners": 32}
        sizes |= {"isv_ext_prod_ids": 16, "isv_family_ids": 16, "config_ids": 64, "misc_select": 4}
        hexadecimal(self, {name: (size,) for name, size in sizes.items()})
        disjoint(self, ("mrenclaves", "deny_mrenclaves"), ("mrsigners", "deny_mrsigners"))
        constrained(self, "mrenclaves", "mrsigners")


class TdxPolicy(IntelPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[tdx]`."""

    mrtds: tuple[str, ...] = ()
    deny_mrtds: tuple[str, ...] = ()
    rtmr0: tuple[str, ...] = ()
    rtmr1: tuple[str, ...] = ()
    rtmr2: tuple[str, ...] = ()
    rtmr3: tuple[str, ...] = ()
    mrseams: tuple[str, ...] = ()
    mrconfigids: tuple[str, ...] = ()
    mrowners: tuple[str, ...] = ()
    mrownerconfigs: tuple[str, ...] = ()
    xfams: tuple[str, ...] = ()
    """Accepted XFAM, 8 bytes as in the report; empty accepts what TDX defines."""
    debug: Literal["any", "forbid"] = "forbid"
    """Any bit of TUD."""
    service_td: Literal["any", "forbid"] = "forbid"
    """A service domain (migration) is bound: MRSERVICETD is not zero."""
    migratable: Bit = "forbid"
    sept_ve_disable: Bit = "any"
    """Set, the host cannot cause exceptions in the guest by removing pages; recommended where no paravisor runs."""
    icssd: Bit = "any"
    lass: Bit = "any"
    pks: Bit = "any"
    kl: Bit = "any"
    tpa: Bit = "any"
    perfmon: Bit = "any"
    unknown_attributes: Literal["any", "forbid"] = "forbid"

    def __post_init__(self) -> None:
        super().__post_init__()
        registers = ("mrtds", "deny_mrtds", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseams", "mrconfigids", "mrowners")
        hexadecimal(self, dict.fromkeys((*registers, "mrownerconfigs"), (48,)) | {"xfams": (8,)})
        disjoint(self, ("mrtds", "deny_mrtds"))
        constrained(self, "mrtds")


def appraise_sgx(claims: Claims, policy: SgxPolicy, sheet: Sheet) -> None:
    """Compare an enclave with the section, rule by rule. Raises `InvalidArgument` for claims of another kind."""
    if not isinstance(claims, SgxClaims):
        raise InvalidArgument("appraise_sgx needs SgxClaims")
    identity = {"MRENCLAVE": (claims.mrenclave, policy.mrenclaves), "MRSIGNER": (claims.mrsigner, policy.mrsigners)}
    _workload("sgx", identity, policy, sheet)
    _denied("sgx", {claims.mrenclave: policy.deny_mrenclaves, claims.mrsigner: policy.deny_mrsigners}, sheet)
    wrong = misplaced(_lists(claims, policy))
    if policy.isv_prod_ids and claims.isv_prod_id not in policy.isv_prod_ids:
        wrong.append(f"ISVPRODID {claims.isv_prod_id}")
    if claims.isv_svn < policy.minimum_isv_svn or claims.config_svn < policy.minimum_config_svn:
        wrong.append(f"ISVSVN {claims.isv_svn}, CONFIGSVN {claims.config_svn}")
    sheet.check("sgx.policy.identity", not wrong, "as the policy lists it", "; ".join(wrong) or "so it is")
    flags = int.from_bytes(bytes.fromhex(claims.attributes)[:8], "little")
    wrong = _bits(flags, SGX_ATTRIBUTES, policy) + ([] if flags & _SGX_INIT else ["INIT is clear"])
    sheet.check("sgx.policy.attributes", not wrong, "no attribute against the policy", "; ".join(wrong) or "none")
    _appraise_platform("sgx", claims, policy, sheet)


def appraise_tdx(claims: Claims, policy: TdxPolicy, sheet: Sheet) -> None:
    """Compare a domain with the section, rule by rule. Raises `InvalidArgument` for claims of another kind."""
    if not isinstance(claims, TdxClaims):
        raise InvalidArgument("appraise_tdx needs TdxClaims")
    _workload("tdx", {"MRTD": (claims.mrtd, policy.mrtds)}, policy, sheet)
    _denied("tdx", {claims.mrtd: policy.deny_mrtds}, sheet)
    registers = _registers(claims, policy)
    wrong = misplaced(registers)
    wanted = listed({name: allowed for name, (_, allowed) in registers.items()}) or "any"
    sheet.check("tdx.policy.measurement", not wrong, wanted, "; ".join(wrong) or "so they are")
    attributes = int.from_bytes(bytes.fromhex(claims.td_attributes), "little")
    tud = attributes & _TUD
    sheet.check("tdx.policy.debug", not tud or policy.debug == "any", "TUD is zero", f"TUD is {tud:#04x}")
    wrong = _bits(attributes, TD_ATTRIBUTES, policy)
    unknown = attributes & ~_TUD & ~sum(1 << bit for bit in TD_ATTRIBUTES.values())
    if unknown and policy.unknown_attributes == "forbid":
        wrong.append(f"reserved bits are set ({unknown:#x})")
    sheet.check("tdx.policy.attributes", not wrong, "no attribute against the policy", "; ".join(wrong) or "none")
    bound = [found for found in (claims.mrservicetd, *claims.service_td_hashes) if found and set(found) != {"0"}]
    service = not bound or policy.service_td == "any"
    sheet.check("tdx.policy.service-td", service, "no service domain", ", ".join(bound) or "none")
    xfam = int.from_bytes(bytes.fromhex(claims.xfam), "little")
    fitting = claims.xfam in policy.xfams if policy.xfams else not xfam & ~XFAM_KNOWN
    legal = fitting and xfam & XFAM_FIXED_1 == XFAM_FIXED_1
    sheet.check("tdx.policy.xfam", legal, ", ".join(policy.xfams) or f"within {XFAM_KNOWN:#x}", f"{xfam:#x}")
    _appraise_platform("tdx", claims, policy, sheet)


def _appraise_platform(kind: str, claims: IntelClaims, policy: IntelPolicy, sheet: Sheet) -> None:
    _appraise_status(kind, claims, policy, sheet)
    applying = set(claims.advisories)
    wrong = applying & set(policy.deny_advisories)
    if policy.allow_advisories is not None:
        wrong |= applying - set(policy.allow_advisories)
    sheet.check(
        f"{kind}.policy.advisories",
        not wrong,
        "none against the policy",
        ", ".join(sorted(wrong or applying)) or "none",
    )
    least = policy.minimum_evaluation_number
    newer = claims.evaluation_number >= least
    sheet.check(f"{kind}.policy.evaluation", newer, f"at least {least}", claims.evaluation_number)
    most, age = policy.maximum_collateral_age_days, claims.verified_at - claims.collateral_issued
    young = most is None or age <= timedelta(days=most)
    sheet.check(f"{kind}.policy.collateral-age", young, "any" if most is None else f"{most} days", f"{age.days} days")
    flags = {"dynamic_platform": claims.dynamic_platform, "cached_keys": claims.cached_keys, "smt": claims.smt}
    faults = [
        f"{name} is {'unknown' if value is None else 'set' if value else 'clear'}"
        for name, value in flags.items()
        if not _fits(value, getattr(policy, name))
    ]
    if policy.sgx_types and claims.sgx_type not in policy.sgx_types:
        faults.append(f"SGX type {claims.sgx_type}")
    sheet.check(f"{kind}.policy.platform", not faults, "as the policy asks", "; ".join(faults) or "so it is")
    known = {
        "FMSPC": (claims.fmspc, policy.fmspcs),
        "PPID": (claims.ppid, policy.ppids),
        "platform instance": (claims.platform_instance_id or "", policy.platform_instance_ids),
    }
    strange = misplaced(known)
    sheet.check(f"{kind}.policy.platform-id", not strange, "as the policy lists it", "; ".join(strange) or "so it is")
    revocation.appraise(claims.revocation, policy.revocation, sheet, f"{kind}.policy.revocation")


def _appraise_status(kind: str, claims: IntelClaims, policy: IntelPolicy, sheet: Sheet) -> None:
    accepted = ", ".join(policy.accept_statuses)
    passed = claims.status in policy.accept_statuses
    shown = claims.status
    if not passed and claims.status == "OutOfDate" and "UpToDate" in policy.accept_statuses:
        passed = _in_grace(claims, policy)
        shown += " within the policy's grace" if passed else ""
    sheet.check(f"{kind}.policy.status", passed, accepted, shown)


def _in_grace(claims: IntelClaims, policy: IntelPolicy) -> bool:
    """Whether everything that is out of date became so a short time ago, and nothing else is wrong with it."""
    parts = [
        (claims.platform_status, claims.platform_date, policy.platform_grace_days),
        (claims.qe_status, claims.qe_date, policy.qe_grace_days),
    ]
    if isinstance(claims, TdxClaims):
        parts.append((claims.module_status, claims.module_date, policy.platform_grace_days))
    # A domain may be out of date by nothing but the module that runs now, for which there is no grace.
    return any(status == "OutOfDate" for status, _, _ in parts) and all(
        _recent(date, days, claims.verified_at) if status == "OutOfDate" else status in policy.accept_statuses
        for status, date, days in parts
    )


def _recent(date: datetime | None, days: int, at: datetime) -> bool:
    return days > 0 and date is not None and at - date <= timedelta(days=days)


def _workload(kind: str, identity: Mapping[str, tuple[str, tuple[str, ...]]], policy: Section, sheet: Sheet) -> None:
    shown = ", ".join(f"{name} {value}" for name, (value, _) in identity.items())
    if policy.any_workload:
        sheet.skip(f"{kind}.policy.workload", "the policy accepts any workload", shown)
    else:
        wanted = listed({name: allowed for name, (_, allowed) in identity.items()})
        sheet.check(f"{kind}.policy.workload", not misplaced(identity), wanted, shown)


def _denied(kind: str, lists: Mapping[str, tuple[str, ...]], sheet: Sheet) -> None:
    denied = [value for value, deny in lists.items() if value in deny]
    sheet.check(f"{kind}.policy.denied", not denied, "on no deny-list", ", ".join(denied) or "on none")


def _lists(claims: SgxClaims, policy: SgxPolicy) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        "ISVEXTPRODID": (claims.isv_ext_prod_id, policy.isv_ext_prod_ids),
        "ISVFAMILYID": (claims.isv_family_id, policy.isv_family_ids),
        "CONFIGID": (claims.config_id, policy.config_ids),
        "MISCSELECT": (claims.misc_select, policy.misc_select),
    }


def _registers(claims: TdxClaims, policy: TdxPolicy) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        "RTMR0": (claims.rtmr[0], policy.rtmr0),
        "RTMR1": (claims.rtmr[1], policy.rtmr1),
        "RTMR2": (claims.rtmr[2], policy.rtmr2),
        "RTMR3": (claims.rtmr[3], policy.rtmr3),
        "MRSEAM": (claims.mrseam, policy.mrseams),
        "MRCONFIGID": (claims.mrconfigid, policy.mrconfigids),
        "MROWNER": (claims.mrowner, policy.mrowners),
        "MROWNERCONFIG": (claims.mrownerconfig, policy.mrownerconfigs),
    }


def _bits(value: int, bits: Mapping[str, int], policy: Section) -> list[str]:
    """The bits that are not as the policy's field of their name wants them."""
    return [
        f"{name} is {'set' if value >> bit & 1 else 'clear'}"
        for name, bit in bits.items()
        if not _fits(bool(value >> bit & 1), getattr(policy, name))
    ]


def _fits(value: bool | None, wanted: Bit) -> bool:
    """Whether a bit is as wanted; one that is unknown fits only `any`."""
    return wanted == "any" or value is (wanted == "require")
