"""Sections `[snp]` and `[sgx]` of Enarx's `steward.toml` in the words of our policy.

Enarx leaves some of what it reads unchecked and is lenient where a key is absent; here what a key says is enforced, and
what is absent has our defaults. Its keys may stand beside ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .errors import PolicyError

_SGX_FEATURES: Final = {
    "CET": "cet",
    "Debug": "debug",
    "EInitKey": "einittoken_key",
    "KSS": "kss",
    "ProvisioningKey": "provision_key",
}
_MISC_EXINFO: Final = "01000000"
_REQUIREMENT: Final = re.compile(r"(\^|>=)? ?([0-9]{1,3})(?:\.([0-9]{1,3})(?:\.0)?)?")


def translate(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same policy with Enarx's keys replaced. Raises `PolicyError` for a value that Enarx would not read either."""
    return {name: _section(table, _KEYS[name]) if name in _KEYS else table for name, table in data.items()}


def _section(table: Any, keys: Mapping[str, Callable[[Any], dict[str, Any]]]) -> Any:
    if not isinstance(table, Mapping):
        return table
    translated = {name: value for name, value in table.items() if name not in keys}
    for name in table.keys() & keys.keys():
        for field, value in keys[name](table[name]).items():
            if field in translated:
                raise PolicyError(f"`{name}` and `{field}` say the same")
            translated[field] = value
    return translated


def _renamed(field: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {field: [item.lower() for item in _texts(value)]}


def _features(value: Any) -> dict[str, Any]:
    """Enarx lists the attributes that an enclave may have."""
    unknown = set(_texts(value)) - _SGX_FEATURES.keys()
    if unknown:
        raise PolicyError(f"`features`: {', '.join(sorted(unknown))} is not known")
    return {field: "any" if name in value else "forbid" for name, field in _SGX_FEATURES.items()}


def _misc_select(value: Any) -> dict[str, Any]:
    if _texts(value) not in ([], ["EXINFO"]):
        raise PolicyError("`misc_select` lists EXINFO or nothing")
    return {"misc_select": ["00000000", *([_MISC_EXINFO] if value else [])]}


def _guest_policy(value: Any) -> dict[str, Any]:
    """The flags that a guest's policy may have; Enarx reads them and checks none."""
    names = {"Debug": "debug", "SingleSocket": "single_socket", "SMT": "smt"}
    unknown = set(_texts(value)) - names.keys()
    if unknown:
        raise PolicyError(f"`policy_flags`: {', '.join(sorted(unknown))} is not known")
    # A single socket is a restriction that a guest puts on itself: listed, it is asked for.
    rules = {field: "any" if name in value else "forbid" for name, field in names.items()}
    return {"guest_policy": {**rules, "single_socket": "require" if "SingleSocket" in value else "any"}}


def _platform_info(value: Any) -> dict[str, Any]:
    """Enarx compares the whole field with a bit that it calls SME (bit 0, which is SMT) or TSME (bit 1)."""
    rules = {"SME": {"smt": "require", "tsme": "forbid"}, "TSME": {"smt": "forbid", "tsme": "require"}}
    if not isinstance(value, str) or value not in rules:
        raise PolicyError("`platform_info_flags` is SME or TSME")
    return {"platform_info": rules[value]}


def _abi(value: Any) -> dict[str, Any]:
    """A version requirement as Cargo writes it, which Enarx takes; ABI versions have two numbers.

    `1.51`, or `^1.51`, is one that breaks nothing: at least 1.51 and below 2.0. Other forms are not in use there.
    """
    found = _REQUIREMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise PolicyError("`abi` is not a version such as 1.51, nor >=1.51")
    operator, major, minor = found[1] or "^", int(found[2]), int(found[3] or 0)
    least = {"minimum_abi": f"{major}.{minor}"}
    if operator == ">=":
        return least
    # With a zero in front, the next number is the one that may break things; "0" alone leaves it open.
    below = f"0.{minor + 1}" if major == 0 and found[3] is not None else f"{major + 1}.0"
    return least | {"abi_below": below}


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PolicyError("expected a list of strings")
    return value


_KEYS: Final[Mapping[str, Mapping[str, Callable[[Any], dict[str, Any]]]]] = {
    "sgx": {
        "signer": _renamed("mrsigners"),
        "hash": _renamed("mrenclaves"),
        "hash_blacklist": _renamed("deny_mrenclaves"),
        "features": _features,
        "enclave_security_version": lambda value: {"minimum_isv_svn": value},
        "enclave_product_id": lambda value: {"isv_prod_ids": [value]},
        # A key of ours by the same name takes ours or Enarx's one value.
        "misc_select": lambda value: _misc_select(value) if value in ([], ["EXINFO"]) else {"misc_select": value},
        "allowed_advisories": lambda value: {"allow_advisories": _texts(value)},
    },
    "snp": {
        "signer": _renamed("author_keys"),
        "hash": _renamed("measurements"),
        "hash_blacklist": _renamed("deny_measurements"),
        "id_key_digest": _renamed("id_keys"),
        "id_key_digest_blacklist": _renamed("deny_id_keys"),
        "abi": _abi,
        "policy_flags": _guest_policy,
        "platform_info_flags": _platform_info,
    },
}
