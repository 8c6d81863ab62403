"""A policy file with what it takes to accept one more package: reference values, put into the sections of their kinds.

Comments and order stay. Lists grow; a key that is no list must say the same in both, for what is accepted already is
not changed by what is added. Packages and measurements are lists of their own: after two additions the policy accepts
each of the packages on each of the measurements.

Whoever signs reference values has a say in what a package measures to, and in nothing else: names, lifetimes, and how
strictly evidence is judged, are the Steward's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from enarx_attestation import Policy

from . import policy as policies
from .errors import ConfigurationError

_NAMES: Final = "names"
_MEASURED: Final = frozenset(
    {
        *("packages", "measured_package", "images", "measurements", "host_data", "mrenclaves", "config_ids"),
        *("mrtds", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigids", "pcrs", "rims", "personalization_values"),
    }
)
"""Keys of sections that say what a package measures to."""


def accept(text: bytes, sections: Mapping[str, Mapping[str, Any]], names: Sequence[str] = ()) -> bytes:
    """The text of a policy with the sections of reference values in it.

    `names` are what Keeps of a kind without a section get certificates for. Raises ConfigurationError where the two
    contradict each other, the sections say more than what is measured, or the result is no policy.
    """
    import tomlkit

    for kind, rules in sections.items():
        _require_measured(kind, rules)
    plain = tomllib.loads(text.decode("utf-8-sig"))
    document = tomlkit.parse(text.decode("utf-8-sig"))
    for kind, rules in sections.items():
        if kind not in plain:
            document[kind] = _new_section(kind, rules, names, granted=bool(plain.get("grant")))
            continue
        _require_choosing(kind, plain[kind])
        for key, value in rules.items():
            document[kind][key] = _merged(kind, key, plain[kind].get(key), value)
    changed = tomlkit.dumps(document).encode()
    policies.parse(changed)
    return changed


def _require_measured(kind: str, rules: object) -> None:
    if kind not in Policy.__struct_fields__ or not isinstance(rules, Mapping):
        raise ConfigurationError(
            f"the reference values have a section [{kind}], which is of no kind of evidence",
            hint=f"kinds are {', '.join(sorted(Policy.__struct_fields__))}",
        )
    more = sorted(rules.keys() - _MEASURED)
    if rules.get("measured_package", True) is not True:
        more.append("measured_package")
    if more:
        raise ConfigurationError(
            f"the reference values want to decide `{kind}.{more[0]}`, which is the policy's alone",
            hint="ask who signed them why, and change the policy by hand if that is to hold",
        )


def _require_choosing(kind: str, section: Mapping[str, Any]) -> None:
    if section.get("any_workload") is True:
        raise ConfigurationError(
            f"[{kind}] accepts any workload already, by `any_workload = true`: a list would contradict it",
            hint="take that line out of the policy, if only what is listed is to be accepted; then do this again",
        )


def _new_section(kind: str, rules: Mapping[str, Any], names: Sequence[str], *, granted: bool) -> dict[str, Any]:
    if not names and not granted:
        raise ConfigurationError(
            f"the policy has no section [{kind}], whose Keeps would get no name",
            hint="say which names their certificates get: --name shop.example.org",
        )
    return {**rules, **({_NAMES: list(names)} if names else {})}


def _merged(kind: str, key: str, old: Any, new: Any) -> Any:
    if old is None or old == new:
        return new
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *(value for value in new if value not in old)]
    raise ConfigurationError(
        f"`{kind}.{key}` is {old!r} in the policy, and {new!r} in the reference values",
        hint="decide which of them is to hold, and change the policy by hand",
    )
