"""The Steward's policy file, `steward.toml`: what is accepted, and what a Keep is given for it.

A section for each kind of evidence holds the rules of `enarx_attestation.Policy` and, beside them, the grant::

    [ca]
    trust_domain = "example.org"             # of the SPIFFE URI in certificates
    audience = "https://steward.example.org" # this Steward's name in evidence; default: the URL where it listens
    evidence_in_certificate = true           # the default: relying parties can appraise the evidence themselves

    [collateral]
    store = "/var/lib/enarx/collateral"      # of `enarx-deploy collateral`; default: `collateral` of the Steward
    endorsements = "store"                   # or "request-too": also lists and statements that requesters send

    [nil]
    any_workload = true
    names = ["localhost", "127.0.0.1"]       # the certificate's names; the first DNS name is its common name
    lifetime = "24h"                         # of a certificate, at most 7 days

A kind without a section is refused, an unknown key is an error, and without a policy file no Steward starts.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

import msgspec

from enarx_attestation import Policy, PolicyError, load_policy

from .errors import ConfigurationError

MAX_SIZE: Final = 1 << 20
"""Most bytes of a policy file."""
MAX_NAMES: Final = 64
"""Most names in one certificate."""
DEFAULT_LIFETIME: Final = timedelta(hours=24)
MIN_LIFETIME: Final = timedelta(minutes=1)
MAX_LIFETIME: Final = timedelta(days=7)
"""Longer would need revocation, which takes the place of a short life and is not offered."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?!(.*\.)?[0-9]+\Z){_LABEL}(\.{_LABEL})*")
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")  # SPIFFE-ID, section 2.1
_AUDIENCE: Final = re.compile(r"https?://[!-~]{1,2000}")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `([^`]*)`")
_GRANT_KEYS: Final = ("names", "lifetime")
_CA_KEYS: Final = ("trust_domain", "audience", "evidence_in_certificate")
_ENDORSEMENTS: Final = {"store": False, "request-too": True}

Address = IPv4Address | IPv6Address


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a Keep of one kind is given: its names and how long they are its own."""

    dns_names: tuple[str, ...]
    addresses: tuple[Address, ...]
    lifetime: timedelta


class StewardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy file as read once. `grants` has an entry for each kind of evidence that `appraisal` accepts."""

    appraisal: Policy
    grants: Mapping[str, Grant]
    trust_domain: str
    audience: str
    """Empty if the file names none."""
    evidence_in_certificate: bool = True
    """Whether a certificate holds the evidence on which it was issued."""
    requester_counts: bool = False
    """Whether revocation lists and statements that a requester sends may make up for the store's."""
    collateral_store: Path | None = None
    """Where the store is, if not in the state directory."""
    sha256: str
    """Digest of the file, in hexadecimal."""

    def accepts(self, kind: str) -> bool:
        """Whether the policy has a section for this kind of evidence."""
        return self.appraisal.section(kind) is not None

    def grant(self, kind: str) -> Grant:
        """What a Keep of an accepted kind is given."""
        return self.grants[kind.replace("-", "_")]


def load(path: Path) -> StewardPolicy:
    """Read a policy file. Raises `ConfigurationError` naming the file and the key."""
    try:
        return parse(_read(path))
    except ConfigurationError as exc:
        raise ConfigurationError(f"{path}: {exc}", hint=exc.hint) from exc


def parse(data: bytes) -> StewardPolicy:
    """Read a policy. Raises `ConfigurationError` naming the key."""
    try:
        tables = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigurationError(f"not TOML: {exc}") from exc
    _refuse_unknown(tables, [*Policy.__struct_fields__, "ca", "collateral"], "")
    trust_domain, audience, evidence_in_certificate = _read_ca(_table(tables.pop("ca", None), "ca"))
    requester_counts, collateral_store = _read_collateral(_table(tables.pop("collateral", {}), "collateral"))
    if not tables:
        raise ConfigurationError("the policy accepts nothing", hint="add a section such as [nil], [snp], [sgx]")
    sections = {kind: dict(_table(table, kind)) for kind, table in tables.items()}
    grants = {kind: _read_grant(kind, section) for kind, section in sections.items()}
    try:
        appraisal = load_policy(sections)
    except PolicyError as exc:
        raise _explained(exc, sections) from exc
    return StewardPolicy(
        appraisal=appraisal,
        grants=MappingProxyType(grants),
        trust_domain=trust_domain,
        audience=audience,
        evidence_in_certificate=evidence_in_certificate,
        requester_counts=requester_counts,
        collateral_store=collateral_store,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def for_this_machine(*, written_by: str) -> str:
    """The policy of a user's own Steward, which starts without being asked: it accepts what this machine can run."""
    return f"""\
# Policy of this machine's own Steward, written by {written_by}. It is yours to change;
# `enarx-deploy steward --reload` has the Steward that runs read it again.

[ca]
trust_domain = "localhost"

# A certificate issued under this section says "no hardware protection" and means it: a nil Keep is a process, the
# operator and root of its machine can read and change all of it, and its evidence is its own word. It is good for
# development. Take the section out, and nil Keeps get no certificate.
[nil]
any_workload = true
# Enarx's own protocol too: its evidence of a nil Keep names neither package nor nonce, which loses nothing here,
# where anyone could write the evidence anyway.
legacy_binding = true
names = ["localhost", "127.0.0.1", "::1"]
lifetime = "24h"
"""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigurationError("others can write to the policy", hint=f"chmod go-w {path}")
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError as exc:
        raise ConfigurationError(
            "there is no policy, and without one nothing is accepted",
            hint="`enarx-deploy steward --init` writes one that accepts nil Keeps; or give --policy FILE",
        ) from exc
    except OSError as exc:
        raise ConfigurationError(f"the policy cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_SIZE:
        raise ConfigurationError(f"a policy has at most {MAX_SIZE} bytes")
    return data


def _read_ca(table: Mapping[str, Any]) -> tuple[str, str, bool]:
    _refuse_unknown(table, _CA_KEYS, "ca.")
    trust_domain, audience = table.get("trust_domain"), table.get("audience", "")
    evidence_in_certificate = table.get("evidence_in_certificate", True)
    if not isinstance(trust_domain, str) or _TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise ConfigurationError(
            "`ca.trust_domain` must be a name of small letters, digits, '.', '-' and '_'",
            hint='[ca] trust_domain = "example.org"; it stands in the SPIFFE URI of every certificate',
        )
    if not isinstance(audience, str) or (audience and _AUDIENCE.fullmatch(audience) is None):
        raise ConfigurationError("`ca.audience` must be the URL by which Keeps know this Steward")
    if not isinstance(evidence_in_certificate, bool):
        raise ConfigurationError("`ca.evidence_in_certificate` must be true or false")
    return trust_domain, audience.rstrip("/"), evidence_in_certificate


def _read_collateral(table: Mapping[str, Any]) -> tuple[bool, Path | None]:
    _refuse_unknown(table, ("endorsements", "store"), "collateral.")
    named, store = table.get("endorsements", "store"), table.get("store")
    if store is not None and not (isinstance(store, str) and Path(store).is_absolute()):
        raise ConfigurationError("`collateral.store` must be the absolute path of a directory")
    if not isinstance(named, str) or named not in _ENDORSEMENTS:
        raise ConfigurationError(
            '`collateral.endorsements` must be "store" or "request-too"',
            hint="a requester would send the oldest list that still holds: store has the Steward's own alone",
        )
    return _ENDORSEMENTS[named], None if store is None else Path(store)


def _read_grant(kind: str, section: dict[str, Any]) -> Grant:
    """Take the grant's keys out of a section, and leave the rules of appraisal."""
    dns_names, addresses = _read_names(section.pop("names", None), f"{kind}.names")
    lifetime = _read_lifetime(section.pop("lifetime", None), f"{kind}.lifetime")
    return Grant(dns_names=dns_names, addresses=addresses, lifetime=lifetime)


def _explained(error: PolicyError, sections: Mapping[str, Mapping[str, Any]]) -> ConfigurationError:
    """The library knows which keys there are, Enarx's among them; here an unknown one gets its nearest neighbour."""
    unknown = _UNKNOWN_FIELD.search(str(error))
    for kind, section in sections.items():
        if unknown and unknown[1] in section:
            return _unknown_key(unknown[1], [*_rule_keys(kind), *_GRANT_KEYS], f"{kind}.")
    return ConfigurationError(str(error), hint=error.hint)


def _rule_keys(kind: str) -> list[str]:
    section = get_type_hints(Policy)[kind]
    return [name for option in get_args(section) for name in getattr(option, "__struct_fields__", ())]


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
            raise ConfigurationError(f"`{key}`: {name!r} is not a DNS name in small letters, nor an IP address")
    if len({*dns_names, *addresses}) != len(value):
        raise ConfigurationError(f"`{key}` has a name twice")
    return tuple(dns_names), tuple(addresses)


def _as_address(name: object) -> Address | None:
    try:
        return ip_address(name) if isinstance(name, str) else None
    except ValueError:
        return None


def _read_lifetime(value: object, key: str) -> timedelta:
    if value is None:
        return DEFAULT_LIFETIME
    match = _LIFETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(f"`{key}` must be a number and a unit: s, m, h or d", hint=f'such as {key} = "24h"')
    lifetime = timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
        raise ConfigurationError(f"`{key}` must be one minute to seven days", hint="certificates are short-lived")
    return lifetime


def _table(value: object, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a section [{key}] is needed" if value is None else f"`{key}` must be a section")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise _unknown_key(key, known, prefix)


def _unknown_key(key: str, known: Sequence[str], prefix: str) -> ConfigurationError:
    nearest = difflib.get_close_matches(key, known, n=1)
    guess = f"; did you mean `{prefix}{nearest[0]}`?" if nearest else ""
    return ConfigurationError(f"unknown key `{prefix}{key}`{guess}", hint=f"known: {', '.join(sorted(known))}")
