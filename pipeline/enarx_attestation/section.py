"""What the sections of a policy have in common, and how their values are checked when a policy is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from .errors import PolicyError

Bit = Literal["any", "forbid", "require"]
"""What a policy says about a bit: it may be either, must be clear, or must be set."""

_PACKAGE = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]*")
_SHOWN = 3
"""Values of an allow-list that a check shows."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that every section has."""

    any_workload: bool = False
    """Accept whatever runs in the Keep. The verdict says so."""
    packages: tuple[str, ...] = ()
    """`sha256:<hex>` of accepted packages; empty accepts any that the other rules accept."""
    legacy_binding: bool = False
    """Accept Enarx's report data, which commits to the key alone."""
    measured_package: bool = False
    """The package's digest must stand in the field that was fixed at launch: HOST_DATA, MRCONFIGID or CONFIGID."""

    def __post_init__(self) -> None:
        digests("packages", self.packages)


def digests(name: str, values: Iterable[str]) -> None:
    """Raise `PolicyError` unless each value is `sha256:` and 64 lower-case hexadecimal digits."""
    for value in values:
        if _PACKAGE.fullmatch(value) is None:
            raise PolicyError(f"`{name}`: {value!r} is not sha256: and 64 lower-case hexadecimal digits")


def hexadecimal(section: Section, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `PolicyError` unless the values of each named field are hexadecimal of one of its sizes (in bytes)."""
    for name, allowed in sizes.items():
        for value in getattr(section, name):
            if _HEX.fullmatch(value) is None or len(value) not in {2 * size for size in allowed}:
                wanted = " or ".join(str(2 * size) for size in allowed)
                raise PolicyError(f"`{name}`: {value!r} is not {wanted} lower-case hexadecimal digits")


def disjoint(section: Section, *pairs: tuple[str, str]) -> None:
    """Raise `PolicyError` if a value is both allowed and denied."""
    for allow, deny in pairs:
        for value in set(getattr(section, allow)) & set(getattr(section, deny)):
            raise PolicyError(f"{value!r} is both in `{allow}` and in `{deny}`")


def constrained(section: Section, *names: str) -> None:
    """Raise `PolicyError` if a section says nothing about the workload, or says two things."""
    given = [name for name in names if getattr(section, name)]
    if not given and not section.any_workload:
        wanted = ", ".join(f"`{name}`" for name in names)
        raise PolicyError(f"the section constrains no workload: give {wanted}, or `any_workload = true` to accept any")
    if given and section.any_workload:
        raise PolicyError(f"`any_workload` and `{given[0]}` contradict each other")


def misplaced(values: Mapping[str, tuple[str, Sequence[str]]]) -> list[str]:
    """Of values with their allow-lists, by name, those that a list which is not empty does not hold."""
    return [f"{name} {value}" for name, (value, allowed) in values.items() if allowed and value not in allowed]


def listed(values: Mapping[str, Sequence[str]]) -> str:
    """The allow-lists that are not empty, by name, for a check to say what was expected."""
    said = []
    for name, allowed in values.items():
        if allowed:
            more = f" or {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else ""
            said.append(f"{name} {' or '.join(allowed[:_SHOWN])}{more}")
    return ", ".join(said)
