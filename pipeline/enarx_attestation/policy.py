"""The appraisal policy: a section for each kind of evidence that is accepted. A kind without a section is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .errors import PolicyError

_PACKAGE = re.compile(r"sha256:[0-9a-f]{64}")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the sections have in common."""

    any_workload: bool = False
    """Accept whatever runs in the Keep. The verdict says so."""
    legacy_binding: bool = False
    """Accept Enarx's report data, which commits to the key alone."""


class NilPolicy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sections `[nil]` and `[kvm]`: Keeps that no hardware protects."""

    packages: tuple[str, ...] = ()
    """`sha256:<hex>` of accepted packages."""
    images: tuple[str, ...] = ()
    """`sha256:<hex>` of accepted images (`kvm` only); empty accepts any."""

    def __post_init__(self) -> None:
        digests("packages", self.packages)
        digests("images", self.images)
        constrained(self, "packages", bool(self.packages))


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is accepted. The empty policy accepts nothing."""

    nil: NilPolicy | None = None
    kvm: NilPolicy | None = None


def load_policy(data: Mapping[str, Any]) -> Policy:
    """Make a policy of plain values, such as a TOML file's. Raises `PolicyError` naming the key."""
    try:
        return msgspec.convert(data, Policy, strict=True)
    except msgspec.ValidationError as exc:
        raise PolicyError(f"policy: {exc}") from exc


def digests(name: str, values: Iterable[str]) -> None:
    """Raise `PolicyError` unless each value is `sha256:` and 64 lower-case hexadecimal digits."""
    for value in values:
        if _PACKAGE.fullmatch(value) is None:
            raise PolicyError(f"`{name}`: {value!r} is not sha256: and 64 lower-case hexadecimal digits")


def constrained(section: Section, names: str, given: bool) -> None:
    """Raise `PolicyError` if a section says nothing about the workload, or says two things."""
    if not given and not section.any_workload:
        raise PolicyError(f"the section constrains no workload: give {names}, or `any_workload = true` to accept any")
    if given and section.any_workload:
        raise PolicyError(f"`any_workload` and {names} contradict each other")
