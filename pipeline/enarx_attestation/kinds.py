"""The table of evidence kinds. A kind is data and three functions; none of them can say "accepted".

A third party adds a kind by passing a larger table to `parse`, `verify` and `appraise`. What a kind's functions yield
are checks; the verdict is computed from them here in the library, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from . import az_snp, cca, intel, intel_policy, intel_quote, nil, nitro, snp, snp_policy, snp_report
from .anchors import Anchors
from .checks import Rule, Sheet
from .errors import InvalidArgument
from .model import Claims, Collateral, Evidence


@dataclass(frozen=True)
class Kind:
    """One kind of evidence.

    `max_size` bounds `parse` in bytes. `rules` documents every check. `required` are the checks without which claims
    of this kind were not verified.
    """

    name: str
    max_size: int
    recognise: Callable[[bytes], bool]
    parse: Callable[[bytes], Evidence]
    verify: Callable[[Evidence, Collateral, Anchors, datetime], Claims]
    appraise: Callable[[Claims, Any, Sheet], None]
    rules: Mapping[str, Rule]
    required: frozenset[str]

    def __post_init__(self) -> None:
        # Without a check that must be made, claims that nothing was checked of would pass for verified.
        if not self.required or not self.required <= self.rules.keys():
            raise InvalidArgument(f"the kind {self.name!r} requires no check, or one that has no rule")


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(
                "nil",
                nil.MAX_SIZE,
                nil.recognise,
                nil.parse,
                nil.verify,
                nil.appraise,
                nil.RULES["nil"],
                nil.REQUIRED["nil"],
            ),
            Kind(
                "kvm",
                nil.MAX_SIZE,
                nil.recognise_kvm,
                nil.parse,
                nil.verify,
                nil.appraise,
                nil.RULES["kvm"],
                nil.REQUIRED["kvm"],
            ),
            Kind(
                "snp",
                snp_report.SIZE,
                snp_report.recognise,
                snp_report.parse,
                snp.verify,
                snp_policy.appraise,
                {**snp.RULES, **snp_policy.RULES},
                snp.REQUIRED,
            ),
            Kind(
                "sgx",
                intel_quote.MAX_SIZE,
                intel_quote.recognise_sgx,
                intel_quote.parse_sgx,
                intel.verify_sgx,
                intel_policy.appraise_sgx,
                {**intel.RULES["sgx"], **intel_policy.RULES["sgx"]},
                intel.REQUIRED["sgx"],
            ),
            Kind(
                "tdx",
                intel_quote.MAX_SIZE,
                intel_quote.recognise_tdx,
                intel_quote.parse_tdx,
                intel.verify_tdx,
                intel_policy.appraise_tdx,
                {**intel.RULES["tdx"], **intel_policy.RULES["tdx"]},
                intel.REQUIRED["tdx"],
            ),
            Kind(
                "az-snp",
                az_snp.MAX_SIZE,
                az_snp.recognise,
                az_snp.parse,
                az_snp.verify,
                az_snp.appraise,
                az_snp.RULES,
                az_snp.REQUIRED,
            ),
            Kind(
                "nitro",
                nitro.MAX_SIZE,
                nitro.recognise,
                nitro.parse,
                nitro.verify,
                nitro.appraise,
                nitro.RULES,
                nitro.REQUIRED,
            ),
            Kind("cca", cca.MAX_SIZE, cca.recognise, cca.parse, cca.verify, cca.appraise, cca.RULES, cca.REQUIRED),
        )
    }
)
"""The built-in kinds by name."""
