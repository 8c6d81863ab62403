"""What a policy gives a Keep whose evidence it accepts: names for as long as a certificate lives, and secrets.

What reads them from the sections raises `ConfigurationError`, with the name of the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

import msgspec

from enarx_signing import Signers

from .errors import ConfigurationError
from .policy_keys import DIGEST, check_text, read_digests, read_lifetime, refuse_unknown, table_of
from .workload import Workload

MAX_NAMES: Final = 64
"""Most names in one certificate."""
MAX_RULES: Final = 64
"""Most sections [[grant]]: the intermediate's certificate lists the names of all."""
MAX_SECRETS: Final = 32
"""Most secrets that one Keep can ask for."""
MAX_SECRET: Final = 16_384
"""Most bytes of a secret: those of one Keep fit into one message."""
MAX_SECRET_RULES: Final = 1024
SECRET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
GRANT_KEYS: Final = ("names", "lifetime")
_SECRET_KEYS: Final = ("name", "file", "kinds", "packages")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?!(.*\.)?[0-9]+\Z){_LABEL}(\.{_LABEL})*")
_HEX: Final = re.compile(r"([0-9a-f]{2}){16,64}")
_WANTED_HEX: Final = "small hexadecimal of 16 to 64 bytes"
_CONDITIONS: Final = {
    "kind": (re.compile(r"[a-z_]{1,16}"), "a kind of evidence"),
    "package": (DIGEST, "sha256: and 64 digits of small hexadecimal"),
    "package_signer": (re.compile(r"[0-9a-f]{64}"), "the id of a key: 64 digits of small hexadecimal"),
    "measurement": (_HEX, _WANTED_HEX),
    "signer": (_HEX, _WANTED_HEX),
}
"""Of a rule: form and description of each."""
Address = IPv4Address | IPv6Address


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a Keep of one kind is given: its names and how long they are its own."""

    dns_names: tuple[str, ...]
    addresses: tuple[Address, ...]
    lifetime: timedelta


class GrantRule(msgspec.Struct, frozen=True, kw_only=True):
    """A grant for the workloads of which all that is given here holds."""

    kind: str | None
    package: str | None
    package_signer: str | None
    measurement: str | None
    signer: str | None
    grant: Grant

    def fits(self, found: Workload) -> bool:
        """Whether the grant is for this workload."""
        return (
            self.kind in {None, found.kind.replace("-", "_")}
            and self.package in {None, found.package}
            and (self.package_signer is None or self.package_signer in found.signed.keys)
            and self.measurement in {None, found.measurement}
            and (self.signer is None or self.signer in found.signers)
        )


class SecretRule(msgspec.Struct, frozen=True, kw_only=True):
    """To whom a secret is released, and where it is."""

    name: str
    file: Path
    kinds: frozenset[str]
    packages: frozenset[str]

    def fits(self, found: Workload) -> bool:
        """Whether the secret is released to this workload."""
        return found.kind.replace("-", "_") in self.kinds and found.package in self.packages


def read_grant(kind: str, section: dict[str, Any], *, nameless: bool = False) -> Grant:
    """Take the grant's keys out of a section, and leave the others. `nameless` allows that there are no names."""
    named = section.pop("names", None)
    dns_names, addresses = ((), ()) if named is None and nameless else _read_names(named, f"{kind}.names")
    lifetime = read_lifetime(section.pop("lifetime", None), f"{kind}.lifetime")
    return Grant(dns_names=dns_names, addresses=addresses, lifetime=lifetime)


def read_rules(value: object, kinds: Mapping[str, Any]) -> tuple[GrantRule, ...]:
    """The sections [[grant]] of a policy that has sections for these kinds."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise ConfigurationError(
            f"`grant` must be sections [[grant]], at most {MAX_RULES}",
            hint="two brackets, and one section for each service",
        )
    return tuple(
        _read_rule(f"grant.{number}", dict(table_of(table, "grant")), kinds) for number, table in enumerate(value)
    )


def require_signers(rules: Sequence[GrantRule], signers: Signers) -> None:
    """Refuse a rule for packages of a signer whom the policy does not name."""
    known = {None, *(signer.key.id for signer in signers)}
    for number, rule in enumerate(rules):
        if rule.package_signer not in known:
            raise ConfigurationError(
                f"`grant.{number}.package_signer`: no key of [[packages.signers]] has this id",
                hint="`enarx-deploy key show FILE` tells a key's id",
            )


def read_secrets(value: object, kinds: Mapping[str, Any]) -> tuple[SecretRule, ...]:
    """The sections [[secret]] of a policy that has sections for these kinds."""
    if not isinstance(value, list) or len(value) > MAX_SECRET_RULES:
        raise ConfigurationError(
            f"`secret` must be sections [[secret]], at most {MAX_SECRET_RULES}",
            hint="two brackets, and one section for each secret",
        )
    return tuple(
        _read_secret(f"secret.{number}", table_of(table, "secret"), kinds) for number, table in enumerate(value)
    )


def _read_rule(key: str, table: dict[str, Any], kinds: Mapping[str, Any]) -> GrantRule:
    refuse_unknown(table, (*_CONDITIONS, *GRANT_KEYS), f"{key}.")
    grant = read_grant(key, table)
    if not table:
        raise ConfigurationError(
            f"`{key}` is for nothing in particular",
            hint="give package, measurement, signer or kind; or put the names into the kind's own section",
        )
    for name, condition in table.items():
        check_text(condition, f"{key}.{name}", *_CONDITIONS[name])
    if "kind" in table and table["kind"] not in kinds:
        raise ConfigurationError(
            f"`{key}.kind`: there is no section [{table['kind']}]", hint="add one, or mend the kind"
        )
    return GrantRule(grant=grant, **{name: table.get(name) for name in _CONDITIONS})


def _read_secret(key: str, table: Mapping[str, Any], kinds: Mapping[str, Any]) -> SecretRule:
    refuse_unknown(table, _SECRET_KEYS, f"{key}.")
    for name in _SECRET_KEYS:
        if name not in table:
            raise ConfigurationError(f"`{key}` has no `{name}`", hint="a secret is released to nobody in general")
    check_text(table["name"], f"{key}.name", SECRET_NAME, "1 to 64 small letters, digits, '.', '_' and '-'")
    if not isinstance(table["file"], str) or not Path(table["file"]).is_absolute():
        raise ConfigurationError(
            f"`{key}.file` must be the absolute path of a file", hint='such as file = "/etc/steward/db-password"'
        )
    named = table["kinds"]
    if not isinstance(named, list) or not named or not all(isinstance(kind, str) for kind in named):
        raise ConfigurationError(f"`{key}.kinds` must list kinds of evidence", hint='such as kinds = ["snp", "tdx"]')
    for kind in named:
        if kind not in kinds:
            raise ConfigurationError(f"`{key}.kinds`: there is no section [{kind}]", hint="add one, or mend the kind")
    packages = read_digests(table["packages"], f"{key}.packages")
    if not packages:
        raise ConfigurationError(f"`{key}.packages` names none", hint="a secret is released to nobody in general")
    return SecretRule(name=table["name"], file=Path(table["file"]), kinds=frozenset(named), packages=packages)


def _read_names(value: object, key: str) -> tuple[tuple[str, ...], tuple[Address, ...]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMES:
        raise ConfigurationError(f"`{key}` must list 1 to {MAX_NAMES} names", hint='such as names = ["localhost"]')
    dns_names: list[str] = []
    addresses: list[Address] = []
    for name in value:
        address = _as_address(name)
        if address is not None:
            addresses.append(address)
        elif isinstance(name, str) and _DNS_NAME.fullmatch(name):
            dns_names.append(name)
        else:
            raise ConfigurationError(
                f"`{key}`: {name!r} is not a DNS name in small letters, nor an IP address",
                hint='such as "app.example.org" or "192.0.2.7"',
            )
    if len({*dns_names, *addresses}) != len(value):
        raise ConfigurationError(
            f"`{key}` has a name twice", hint="name each once; two ways to write an address are one name"
        )
    return tuple(dns_names), tuple(addresses)


def _as_address(name: object) -> Address | None:
    try:
        return ip_address(name) if isinstance(name, str) else None
    except ValueError:
        return None
