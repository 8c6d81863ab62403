"""The appraisal policy: a section for each kind of evidence that is accepted. A kind without a section is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from .az_snp import AzSnpPolicy
from .cca import CcaPolicy
from .errors import PolicyError
from .intel_policy import SgxPolicy, TdxPolicy
from .nil import NilPolicy
from .nitro import NitroPolicy
from .section import Section
from .snp_policy import SnpPolicy
from .steward_toml import translate

PolicyType = TypeVar("PolicyType", bound="Policy")


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is accepted. The empty policy accepts nothing."""

    nil: NilPolicy | None = None
    kvm: NilPolicy | None = None
    snp: SnpPolicy | None = None
    sgx: SgxPolicy | None = None
    tdx: TdxPolicy | None = None
    az_snp: AzSnpPolicy | None = None
    nitro: NitroPolicy | None = None
    cca: CcaPolicy | None = None

    def section(self, kind: str) -> Section | None:
        """The section for a kind of evidence."""
        found = getattr(self, kind.replace("-", "_"), None)
        return found if isinstance(found, Section) else None


def load_policy(data: Mapping[str, Any]) -> Policy:
    """Make a policy of plain values, such as a TOML file's. Raises `PolicyError` naming the key.

    Keys of Enarx's `steward.toml` are understood; see `steward_toml`.
    """
    return load_policy_as(Policy, data)


def load_policy_as(type: type[PolicyType], data: Mapping[str, Any]) -> PolicyType:
    """The same of a sub-class of `Policy`, which has sections for kinds of third parties. Raises `PolicyError`."""
    try:
        return msgspec.convert(translate(data), type, strict=True)
    except msgspec.ValidationError as exc:
        raise PolicyError(f"policy: {exc}") from exc
