"""Intel's statements about TCB levels, and the rules by which a platform is placed on one.

Intel PCS API v4: TCB info and enclave identities ("Determine TCB status"). The rules are Intel's, not an approximation:
which level is the first that a platform reaches, and how platform, TDX module and quoting enclave make one status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from .errors import MalformedCollateral
from .intel_pck import Platform
from .intel_quote import SgxReport, TdReport
from .reading import read_json

Status = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]
"""Of a platform level."""

ModuleStatus = Literal["UpToDate", "OutOfDate", "Revoked"]
"""Of a TDX module. Others would have no rule of convergence."""

QeStatus = Status
"""Of a quoting enclave; others than OutOfDate and Revoked do not change the result."""

MAX_JSON: Final = 1 << 20
"""Most bytes of a statement."""

Svn = Annotated[int, msgspec.Meta(ge=0, le=255)]
Svn16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


Hex2 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{4}\Z")]
Hex4 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{8}\Z")]
Hex6 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{12}\Z")]
Hex8 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{16}\Z")]
Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{32}\Z")]
Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{64}\Z")]
Hex48 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{96}\Z")]


class Component(msgspec.Struct, frozen=True):
    """One of the 16 parts of a platform whose security version counts by itself."""

    svn: Svn


Components = Annotated[tuple[Component, ...], msgspec.Meta(min_length=16, max_length=16)]


class Tcb(msgspec.Struct, frozen=True):
    """What a platform must reach for a level."""

    sgxtcbcomponents: Components
    pcesvn: Svn16
    tdxtcbcomponents: Components | None = None


class PlatformLevel(msgspec.Struct, frozen=True):
    """A level of platforms, with its date and what Intel says of those that reach no higher one."""

    tcb: Tcb
    tcbDate: Time  # noqa: N815 — Intel's name
    tcbStatus: Status  # noqa: N815 — Intel's name
    advisoryIDs: tuple[str, ...] = ()  # noqa: N815 — Intel's name


class IsvSvn(msgspec.Struct, frozen=True):
    """What an enclave or a module must reach for a level."""

    isvsvn: Svn16


class ModuleLevel(msgspec.Struct, frozen=True):
    """A level of TDX modules."""

    tcb: IsvSvn
    tcbDate: Time  # noqa: N815 — Intel's name
    tcbStatus: ModuleStatus  # noqa: N815 — Intel's name
    advisoryIDs: tuple[str, ...] = ()  # noqa: N815 — Intel's name


class QeLevel(msgspec.Struct, frozen=True):
    """A level of quoting enclaves."""

    tcb: IsvSvn
    tcbDate: Time  # noqa: N815 — Intel's name
    tcbStatus: QeStatus  # noqa: N815 — Intel's name
    advisoryIDs: tuple[str, ...] = ()  # noqa: N815 — Intel's name


class Module(msgspec.Struct, frozen=True):
    """Who signs the TDX module."""

    mrsigner: Hex48
    attributes: Hex8
    attributesMask: Hex8  # noqa: N815 — Intel's name


class ModuleIdentity(Module, frozen=True):
    """The same of one major version of the module, with its levels."""

    id: str
    tcbLevels: tuple[ModuleLevel, ...]  # noqa: N815 — Intel's name


class Placed(msgspec.Struct, frozen=True):
    """Where something stands: a level's status, date and advisories."""

    status: str
    date: datetime
    advisories: tuple[str, ...]


class Level(msgspec.Struct, frozen=True):
    """A level in the form in which platforms are compared with it, which happens for every quote.

    A byte is a component: it is compared faster than a `Component`, and threads that use one do not disturb each other.
    """

    sgx: bytes
    tdx: bytes
    """Empty in TCB info of SGX."""
    pce_svn: int
    placed: Placed


class _Versioned(msgspec.Struct, frozen=True):
    version: int = 0


class _Family(msgspec.Struct, frozen=True, kw_only=True):
    """What TCB info says about all platforms of one family (FMSPC), without its levels."""

    id: Literal["SGX", "TDX"] = "SGX"
    version: Literal[2, 3]
    issueDate: Time  # noqa: N815 — Intel's name
    nextUpdate: Time  # noqa: N815 — Intel's name
    fmspc: Hex6
    pceId: Hex2  # noqa: N815 — Intel's name
    tcbType: Literal[0]  # noqa: N815 — Intel's name; no other way to compare levels is defined
    tcbEvaluationDataNumber: Annotated[int, msgspec.Meta(ge=0)]  # noqa: N815 — Intel's name
    tdxModule: Module | None = None  # noqa: N815 — Intel's name
    tdxModuleIdentities: tuple[ModuleIdentity, ...] = ()  # noqa: N815 — Intel's name


class _Statement(_Family, frozen=True, kw_only=True):
    """TCB info as Intel sends it."""

    tcbLevels: tuple[PlatformLevel, ...]  # noqa: N815 — Intel's name


class TcbInfo(_Family, frozen=True, kw_only=True):
    """TCB info, with the levels of all platforms of a family highest first, and so those of each module."""

    levels: tuple[Level, ...]


class EnclaveIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which quoting enclaves are Intel's, and their levels."""

    id: Literal["QE", "TD_QE", "QVE"]
    version: Literal[2]
    issueDate: Time  # noqa: N815 — Intel's name
    nextUpdate: Time  # noqa: N815 — Intel's name
    tcbEvaluationDataNumber: Annotated[int, msgspec.Meta(ge=0)]  # noqa: N815 — Intel's name
    miscselect: Hex4
    miscselectMask: Hex4  # noqa: N815 — Intel's name
    attributes: Hex16
    attributesMask: Hex16  # noqa: N815 — Intel's name
    mrsigner: Hex32
    isvprodid: Svn16
    tcbLevels: tuple[QeLevel, ...]  # noqa: N815 — Intel's name


Leveled = TypeVar("Leveled", ModuleIdentity, EnclaveIdentity)


def read_tcb_info(data: bytes) -> TcbInfo:
    """Read TCB info, versions 2 and 3. Raises `MalformedCollateral`."""
    statement = read_json(_upgrade(data), _Statement, _malformed)
    with_tdx = [level.tcb.tdxtcbcomponents is not None for level in statement.tcbLevels]
    if (
        any(with_tdx) != (statement.id == "TDX")
        or any(with_tdx) != all(with_tdx)
        or (statement.id == "TDX") > bool(statement.tdxModule)
    ):
        raise MalformedCollateral("the TCB info mixes SGX and TDX")
    levels = [_level(found) for found in statement.tcbLevels]
    fields = {name: getattr(statement, name) for name in _Family.__struct_fields__}
    modules = [_highest_first(module) for module in statement.tdxModuleIdentities]
    return TcbInfo(
        # Intel sends levels highest first; a reader must not depend on it.
        levels=tuple(sorted(levels, key=lambda level: (level.sgx, level.tdx, level.pce_svn), reverse=True)),
        **fields | {"tdxModuleIdentities": tuple(modules)},
    )


def read_enclave_identity(data: bytes) -> EnclaveIdentity:
    """Read an enclave identity, version 2. Raises `MalformedCollateral`."""
    if len(data) > MAX_JSON:
        raise MalformedCollateral(f"a statement has at most {MAX_JSON} bytes, not {len(data)}")
    return _highest_first(read_json(data, EnclaveIdentity, _malformed))


def platform_level(info: TcbInfo, platform: Platform, tee_tcb_svn: bytes | None) -> Placed | None:
    """The first level that a platform reaches, or None if it reaches none.

    With a TDX module of version 1.5 or later (`tee_tcb_svn[1] > 0`), the first two components are the module's and are
    judged by its own identity instead.
    """
    skip = 0 if tee_tcb_svn is None or tee_tcb_svn[1] == 0 else 2
    for level in info.levels:
        if not _reaches(platform.components, level.sgx) or platform.pce_svn < level.pce_svn:
            continue
        if tee_tcb_svn is None or _reaches(tee_tcb_svn[skip:], level.tdx[skip:]):
            return level.placed
    return None


def module_of(info: TcbInfo, tee_tcb_svn: bytes) -> Module | None:
    """The identity of the TDX module of this version; None if Intel knows none."""
    if tee_tcb_svn[1] == 0:
        return info.tdxModule
    wanted = f"TDX_{tee_tcb_svn[1]:02X}"
    return next((identity for identity in info.tdxModuleIdentities if identity.id.upper() == wanted), None)


def is_module(module: Module, report: TdReport) -> bool:
    """Whether the running module was signed by the one whom the identity names, with its attributes."""
    return report.mrsignerseam.hex() == module.mrsigner.lower() and _masked(
        report.seam_attributes, module.attributesMask, module.attributes
    )


def module_level(module: Module, tee_tcb_svn: bytes) -> Placed | None:
    """The module's level; version 0 has none of its own and counts as up to date (its platform level says it all)."""
    if not isinstance(module, ModuleIdentity):
        return Placed("UpToDate", datetime.max.replace(tzinfo=UTC), ())
    return _isv_level(module.tcbLevels, tee_tcb_svn[0])


def is_enclave(identity: EnclaveIdentity, report: SgxReport) -> bool:
    """Whether a quoting enclave is the one that the identity describes."""
    return (
        report.mrsigner.hex() == identity.mrsigner.lower()
        and report.isv_prod_id == identity.isvprodid
        and _masked(report.misc_select, identity.miscselectMask, identity.miscselect)
        and _masked(report.attributes, identity.attributesMask, identity.attributes)
    )


def enclave_level(identity: EnclaveIdentity, report: SgxReport) -> Placed | None:
    """The quoting enclave's level, or None if it reaches none."""
    return _isv_level(identity.tcbLevels, report.isv_svn)


def converge(platform: str, others: Iterable[str]) -> str:
    """One status of the platform's and those of its parts: only OutOfDate and Revoked of a part count."""
    parts = set(others)
    if "Revoked" in parts or platform == "Revoked":
        return "Revoked"
    if "OutOfDate" not in parts and "OutOfDateConfigurationNeeded" not in parts:
        return platform
    if platform in {"UpToDate", "SWHardeningNeeded"}:
        return "OutOfDate"
    if platform in {"ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"}:
        return "OutOfDateConfigurationNeeded"
    return platform


def relaunch(launched: str, running: str) -> str:
    """The status of a domain by those under the module that started it and under the one that runs now.

    The module that runs now makes it worse, and never better than to be started anew.
    """
    outdated = launched in {"OutOfDate", "OutOfDateConfigurationNeeded"}
    current = {"UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"}
    if not outdated or running not in current:
        return converge(launched, [running])
    configure = "Configuration" in launched or "Configuration" in running
    return "TDRelaunchAdvisedConfigurationNeeded" if configure else "TDRelaunchAdvised"


def _isv_level(levels: Sequence[ModuleLevel | QeLevel], isv_svn: int) -> Placed | None:
    for level in levels:
        if isv_svn >= level.tcb.isvsvn:
            return Placed(level.tcbStatus, level.tcbDate, level.advisoryIDs)
    return None


def _level(found: PlatformLevel) -> Level:
    tcb = found.tcb
    return Level(
        sgx=bytes(component.svn for component in tcb.sgxtcbcomponents),
        tdx=bytes(component.svn for component in tcb.tdxtcbcomponents or ()),
        pce_svn=tcb.pcesvn,
        placed=Placed(found.tcbStatus, found.tcbDate, found.advisoryIDs),
    )


def _highest_first(statement: Leveled) -> Leveled:
    levels = sorted(statement.tcbLevels, key=lambda level: level.tcb.isvsvn, reverse=True)
    return msgspec.structs.replace(statement, tcbLevels=tuple(levels))


def _reaches(actual: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(actual) == len(wanted) and all(have >= need for have, need in zip(actual, wanted, strict=True))


def _masked(actual: bytes, mask: str, wanted: str) -> bool:
    """Whether `actual` under `mask` is `wanted`."""
    return int.from_bytes(actual, "big") & int(mask, 16) == int(wanted, 16)


def _upgrade(data: bytes) -> bytes:
    """Version 2 of TCB info in the form of version 3: the components stood in 16 fields of their own."""
    if len(data) > MAX_JSON:
        raise MalformedCollateral(f"a statement has at most {MAX_JSON} bytes, not {len(data)}")
    if read_json(data, _Versioned, _malformed).version != 2:
        return data
    info: Any = read_json(data, dict, _malformed)
    try:
        for level in info["tcbLevels"]:
            tcb = level["tcb"]
            tcb["sgxtcbcomponents"] = [{"svn": tcb[f"sgxtcbcomp{index:02}svn"]} for index in range(1, 17)]
    except (KeyError, TypeError) as exc:
        raise _malformed(str(exc)) from exc
    return msgspec.json.encode(info)


def _malformed(why: str) -> MalformedCollateral:
    return MalformedCollateral(f"not a statement of Intel's: {why}")
