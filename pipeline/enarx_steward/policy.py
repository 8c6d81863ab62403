"""The Steward's policy file, `steward.toml`: what is accepted, and what a Keep is given for it.

A section for each kind of evidence holds the rules of `enarx_attestation.Policy` and, beside them, the grant::

    [ca]
    trust_domain = "example.org"             # of the SPIFFE URI in certificates
    audience = "https://steward.example.org" # this Steward's name in evidence; default: the URL where it listens
    minimum_lifetime = "1m"                  # what could not last as long, since collateral ends, is refused
    renewal_grace = "1h"                     # how long after its end a certificate can be renewed; default: not at all
    evidence_in_certificate = true           # the default: relying parties can appraise the evidence themselves

    [log]
    database = "postgresql://steward@db.example.org/steward"  # default: a SQLite file in the state directory
    public = true                            # whether whoever reaches the Steward may read the log; default: false

    [limits]
    requests_per_minute = 120                # of one address (IPv6: of one /64), and `burst` at once after a pause
    burst = 240
    trusted_proxies = ["10.0.0.7"]           # whose X-Forwarded-For is believed; default: nobody's

    [collateral]
    store = "/var/lib/enarx/collateral"      # of `enarx-deploy collateral`; default: `collateral` of the Steward
    endorsements = "store"                   # or "request-too": also lists and statements that requesters send

    [nil]
    any_workload = true
    names = ["localhost", "127.0.0.1"]       # the certificate's names; the first DNS name is its common name
    lifetime = "24h"                         # of a certificate, at most 7 days

    [packages]
    deny = ["sha256:…"]                      # and `allow`: the only ones that are accepted, whatever the kind

    [[packages.signers]]                     # if there are any, one of them must have signed the package
    name = "release team"                    # and not_before, not_after, revoked_at: see `enarx_signing.trust`
    key = '''-----BEGIN PUBLIC KEY-----…'''

    [[secret]]                               # released to Keeps whose evidence shows this kind and package
    name = "db-password"
    file = "/etc/enarx/secrets/db-password"  # mode 0600; read at each release
    kinds = ["snp"]                          # kinds without hardware only if they are named
    packages = ["sha256:…"]

    [[grant]]                                # the first whose conditions all hold goes before the section's names
    package = "sha256:…"                     # and `package_signer`, `measurement`, `signer`, `kind`
    names = ["shop.example.org"]
    lifetime = "2h"

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
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

import msgspec

from enarx_attestation import Policy, PolicyError, load_policy
from enarx_service.rate_limit import Limits, Network
from enarx_signing import Signers, TrustFault, trust
from enarx_toml.positions import Positions

from .errors import ConfigurationError
from .workload import Workload

MAX_SIZE: Final = 1 << 20
"""Most bytes of a policy file."""
MAX_NAMES: Final = 64
"""Most names in one certificate."""
MAX_RULES: Final = 64
"""Most sections [[grant]]: the intermediate's certificate lists the names of all."""
MAX_PACKAGES: Final = 4096
MAX_PROXIES: Final = 64
MAX_REQUESTS: Final = 1_000_000
"""Most requests a minute, and at once, that a limit can allow."""
MAX_SECRETS: Final = 32
"""Most secrets that one Keep can ask for."""
MAX_SECRET: Final = 16_384
"""Most bytes of a secret: those of one Keep fit into one message."""
MAX_SECRET_RULES: Final = 1024
SECRET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
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
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HEX: Final = re.compile(r"([0-9a-f]{2}){16,64}")
_WANTED_HEX: Final = "small hexadecimal of 16 to 64 bytes"
_CONDITIONS: Final = {
    "kind": (re.compile(r"[a-z_]{1,16}"), "a kind of evidence"),
    "package": (_DIGEST, "sha256: and 64 digits of small hexadecimal"),
    "package_signer": (re.compile(r"[0-9a-f]{64}"), "the id of a key: 64 digits of small hexadecimal"),
    "measurement": (_HEX, _WANTED_HEX),
    "signer": (_HEX, _WANTED_HEX),
}
"""Of a rule: form and description of each."""
_NAMED_KEY: Final = re.compile(r"`((?:\$|[A-Za-z0-9_-]+)[A-Za-z0-9_.\[\]-]*)`")
_PART: Final = re.compile(r"\$|[A-Za-z0-9_-]+")
_GRANT_KEYS: Final = ("names", "lifetime")
_LOG_KEYS: Final = ("database", "public")
_SECRET_KEYS: Final = ("name", "file", "kinds", "packages")
_LIMITS_KEYS: Final = ("requests_per_minute", "burst", "trusted_proxies")
_TABLES: Final = ("ca", "collateral", "packages", "grant", "secret", "log", "limits")
_CA_KEYS: Final = ("trust_domain", "audience", "evidence_in_certificate", "minimum_lifetime", "renewal_grace")
_ENDORSEMENTS: Final = {"store": False, "request-too": True}

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


class StewardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy file as read once. `grants` has an entry for each kind of evidence that `appraisal` accepts."""

    appraisal: Policy
    grants: Mapping[str, Grant]
    """By kind; without names where only a rule can give some."""
    rules: tuple[GrantRule, ...] = ()
    """In the order of the file; they go before `grants`."""
    secrets: tuple[SecretRule, ...] = ()
    """In the order of the file."""
    allowed_packages: frozenset[str] = frozenset()
    """If there are any, no other is accepted."""
    denied_packages: frozenset[str] = frozenset()
    signers: Signers = Signers()
    """If there are any, a package that none of them signed is not accepted."""
    minimum_lifetime: timedelta = MIN_LIFETIME
    """A certificate that could not last as long is refused, unless its grant is shorter."""
    renewal_grace: timedelta = timedelta()
    """How long after its end a certificate can still be renewed."""
    trust_domain: str
    audience: str
    """Empty if the file names none."""
    evidence_in_certificate: bool = True
    """Whether a certificate holds the evidence on which it was issued."""
    requester_counts: bool = False
    """Whether revocation lists and statements that a requester sends may make up for the store's."""
    collateral_store: Path | None = None
    """Where the store is, if not in the state directory."""
    database: str = ""
    """URL of the database for log and challenges; empty for a file in the state directory."""
    log_public: bool = False
    """Whether the log's entries are told to whoever asks."""
    limits: Limits = Limits()
    """How many requests one address may make."""
    sha256: str
    """Digest of the file, in hexadecimal."""

    def accepts(self, kind: str) -> bool:
        """Whether the policy has a section for this kind of evidence."""
        return self.appraisal.section(kind) is not None

    def grant(self, found: Workload) -> Grant | None:
        """What a Keep of an accepted kind is given; None if nothing gives it a name."""
        fitting = (rule.grant for rule in self.rules if rule.fits(found))
        grant = next(fitting, self.grants[found.kind.replace("-", "_")])
        return grant if grant.dns_names or grant.addresses else None

    def secret_files(self, names: Sequence[str], found: Workload) -> dict[str, Path]:
        """Where each of these secrets is that are released to a workload, by name."""
        files: dict[str, Path] = {}
        for rule in self.secrets:
            if rule.name in names and rule.fits(found):
                files.setdefault(rule.name, rule.file)
        return files

    @property
    def every_grant(self) -> tuple[Grant, ...]:
        """All that a Keep may be given."""
        return (*self.grants.values(), *(rule.grant for rule in self.rules))


def load(path: Path) -> StewardPolicy:
    """Read a policy file. Raises `ConfigurationError` naming the file, the line and the key."""
    data = b""
    try:
        data = _read(path)
        return parse(data)
    except ConfigurationError as exc:
        line = _line(data, str(exc))
        place = f"{path}:{line}" if line else str(path)
        raise ConfigurationError(f"{place}: {exc}", hint=exc.hint) from exc


def parse(data: bytes) -> StewardPolicy:
    """Read a policy. Raises `ConfigurationError` naming the key."""
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))  # some editors mark their files
    except (ValueError, RecursionError) as exc:  # also numbers of thousands of digits, and what is nested too deeply
        raise ConfigurationError(f"not TOML: {exc}") from exc
    _refuse_unknown(tables, [*Policy.__struct_fields__, *_TABLES], "")
    ca = _read_ca(_table(tables.pop("ca", None), "ca"))
    requester_counts, collateral_store = _read_collateral(_table(tables.pop("collateral", {}), "collateral"))
    packages = dict(_table(tables.pop("packages", {}), "packages"))
    signers = _read_signers(packages.pop("signers", []))
    allowed_packages, denied_packages = _read_packages(packages)
    database, log_public = _read_log(_table(tables.pop("log", {}), "log"))
    limits = _read_limits(_table(tables.pop("limits", {}), "limits"))
    granted = tables.pop("grant", [])
    released = tables.pop("secret", [])
    if not tables:
        raise ConfigurationError("the policy accepts nothing", hint="add a section such as [nil], [snp], [sgx]")
    sections = {kind: dict(_table(table, kind)) for kind, table in tables.items()}
    rules = _read_rules(granted, tables)
    _require_signers(rules, signers)
    grants = {kind: _read_grant(kind, section, nameless=bool(rules)) for kind, section in sections.items()}
    try:
        appraisal = load_policy(sections)
    except PolicyError as exc:
        raise _explained(exc, sections) from exc
    return StewardPolicy(
        appraisal=appraisal,
        grants=MappingProxyType(grants),
        rules=rules,
        secrets=_read_secrets(released, tables),
        allowed_packages=allowed_packages,
        denied_packages=denied_packages,
        signers=signers,
        **ca,
        requester_counts=requester_counts,
        collateral_store=collateral_store,
        database=database,
        log_public=log_public,
        limits=limits,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def for_this_machine(*, written_by: str) -> str:
    """The policy of a user's own Steward, which starts without being asked: it accepts what this machine can run."""
    return f"""\
# Policy of this machine's own Steward, written by {written_by}. It is yours to change;
# `enarx-deploy steward --reload` has the Steward that runs read it again.

[ca]
trust_domain = "localhost"

# Every decision is in a log, which programs of this machine may read.
[log]
public = true

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

# The same of a Keep that is a virtual machine, which its host can look into just so.
[kvm]
any_workload = true
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


def _line(data: bytes, message: str) -> int | None:
    """The line of the first key that a message names; of what holds it, if the key is not there."""
    try:
        text = data.decode("utf-8-sig")
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return None  # the parser's message has the line
    index = Positions(text)
    named = [_PART.findall(key) for key in _NAMED_KEY.findall(message)]
    # The library says in which section, as `$.snp`, after the key.
    within = next((parts[1:] for parts in named if parts[0] == "$"), [])
    key = next((parts for parts in named if parts[0] != "$"), [])
    for parts in (within + key, within, *(key[:size] for size in range(len(key), 0, -1))):
        path = tuple(int(part) if part.isdecimal() else part for part in parts)
        if path and path in index:
            return index.key(path)[0]
    return None


def _read_ca(table: Mapping[str, Any]) -> dict[str, Any]:
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
    return {
        "trust_domain": trust_domain,
        "audience": audience.rstrip("/"),
        "evidence_in_certificate": evidence_in_certificate,
        "minimum_lifetime": _read_lifetime(table.get("minimum_lifetime"), "ca.minimum_lifetime", MIN_LIFETIME),
        "renewal_grace": _read_lifetime(table.get("renewal_grace"), "ca.renewal_grace", timedelta()),
    }


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


def _read_log(table: Mapping[str, Any]) -> tuple[str, bool]:
    _refuse_unknown(table, _LOG_KEYS, "log.")
    database, public = table.get("database", ""), table.get("public", False)
    if not isinstance(database, str):
        raise ConfigurationError("`log.database` must be the URL of a PostgreSQL database")
    if not isinstance(public, bool):
        raise ConfigurationError("`log.public` must be true or false")
    return database, public


def _read_limits(table: Mapping[str, Any]) -> Limits:
    _refuse_unknown(table, _LIMITS_KEYS, "limits.")
    numbers = {name: table[name] for name in ("requests_per_minute", "burst") if name in table}
    for name, number in numbers.items():
        if type(number) is not int or not 1 <= number <= MAX_REQUESTS:
            raise ConfigurationError(f"`limits.{name}` must be a number from 1 to {MAX_REQUESTS}")
    proxies = table.get("trusted_proxies", [])
    if not isinstance(proxies, list) or len(proxies) > MAX_PROXIES:
        raise ConfigurationError(f"`limits.trusted_proxies` must list addresses, at most {MAX_PROXIES}")
    # A user's own machine has one address for everything: it is limited where the policy asks for that.
    return Limits(**numbers, trusted_proxies=tuple(_as_network(proxy) for proxy in proxies), own_machine=bool(numbers))


def _as_network(proxy: object) -> Network:
    try:
        if isinstance(proxy, str):
            return ip_network(proxy)
    except ValueError:
        pass
    raise ConfigurationError(
        f"`limits.trusted_proxies`: {proxy!r} is not an IP address or a network",
        hint='such as "127.0.0.1" or "10.0.0.0/8"',
    )


def _read_packages(table: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    _refuse_unknown(table, ("allow", "deny"), "packages.")
    allow, deny = (_read_digests(table.get(name, []), f"packages.{name}") for name in ("allow", "deny"))
    if allow & deny:
        raise ConfigurationError(f"{min(allow & deny)} is both in `packages.allow` and in `packages.deny`")
    return allow, deny


def _read_signers(value: object) -> Signers:
    try:
        return trust.of_tables(value)
    except TrustFault as exc:
        raise ConfigurationError(f"`packages.signers`: {exc}", hint=exc.hint) from exc


def _read_digests(value: object, key: str) -> frozenset[str]:
    if not isinstance(value, list) or len(value) > MAX_PACKAGES:
        raise ConfigurationError(f"`{key}` must list digests, at most {MAX_PACKAGES}")
    for digest in value:
        _check_text(digest, key, _DIGEST, "sha256: and 64 digits of small hexadecimal")
    return frozenset(value)


def _read_rules(value: object, kinds: Mapping[str, Any]) -> tuple[GrantRule, ...]:
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise ConfigurationError(f"`grant` must be sections [[grant]], at most {MAX_RULES}")
    return tuple(
        _read_rule(f"grant.{number}", dict(_table(table, "grant")), kinds) for number, table in enumerate(value)
    )


def _read_rule(key: str, table: dict[str, Any], kinds: Mapping[str, Any]) -> GrantRule:
    _refuse_unknown(table, (*_CONDITIONS, *_GRANT_KEYS), f"{key}.")
    grant = _read_grant(key, table)
    if not table:
        raise ConfigurationError(
            f"`{key}` is for nothing in particular",
            hint="give package, measurement, signer or kind; or put the names into the kind's own section",
        )
    for name, condition in table.items():
        _check_text(condition, f"{key}.{name}", *_CONDITIONS[name])
    if "kind" in table and table["kind"] not in kinds:
        raise ConfigurationError(
            f"`{key}.kind`: there is no section [{table['kind']}]", hint="add one, or mend the kind"
        )
    return GrantRule(grant=grant, **{name: table.get(name) for name in _CONDITIONS})


def _require_signers(rules: Sequence[GrantRule], signers: Signers) -> None:
    known = {None, *(signer.key.id for signer in signers)}
    for number, rule in enumerate(rules):
        if rule.package_signer not in known:
            raise ConfigurationError(
                f"`grant.{number}.package_signer`: no key of [[packages.signers]] has this id",
                hint="`enarx-deploy key show FILE` tells a key's id",
            )


def _read_secrets(value: object, kinds: Mapping[str, Any]) -> tuple[SecretRule, ...]:
    if not isinstance(value, list) or len(value) > MAX_SECRET_RULES:
        raise ConfigurationError(f"`secret` must be sections [[secret]], at most {MAX_SECRET_RULES}")
    return tuple(_read_secret(f"secret.{number}", _table(table, "secret"), kinds) for number, table in enumerate(value))


def _read_secret(key: str, table: Mapping[str, Any], kinds: Mapping[str, Any]) -> SecretRule:
    _refuse_unknown(table, _SECRET_KEYS, f"{key}.")
    for name in _SECRET_KEYS:
        if name not in table:
            raise ConfigurationError(f"`{key}` has no `{name}`", hint="a secret is released to nobody in general")
    _check_text(table["name"], f"{key}.name", SECRET_NAME, "1 to 64 small letters, digits, '.', '_' and '-'")
    if not isinstance(table["file"], str) or not Path(table["file"]).is_absolute():
        raise ConfigurationError(f"`{key}.file` must be the absolute path of a file")
    named = table["kinds"]
    if not isinstance(named, list) or not named or not all(isinstance(kind, str) for kind in named):
        raise ConfigurationError(f"`{key}.kinds` must list kinds of evidence", hint='such as kinds = ["snp", "tdx"]')
    for kind in named:
        if kind not in kinds:
            raise ConfigurationError(f"`{key}.kinds`: there is no section [{kind}]", hint="add one, or mend the kind")
    packages = _read_digests(table["packages"], f"{key}.packages")
    if not packages:
        raise ConfigurationError(f"`{key}.packages` names none", hint="a secret is released to nobody in general")
    return SecretRule(name=table["name"], file=Path(table["file"]), kinds=frozenset(named), packages=packages)


def _check_text(value: object, key: str, pattern: re.Pattern[str], wanted: str) -> None:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ConfigurationError(f"`{key}`: {value!r} is not {wanted}")


def _read_grant(kind: str, section: dict[str, Any], *, nameless: bool = False) -> Grant:
    """Take the grant's keys out of a section, and leave the others. `nameless` allows that there are no names."""
    named = section.pop("names", None)
    dns_names, addresses = ((), ()) if named is None and nameless else _read_names(named, f"{kind}.names")
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


def _read_lifetime(value: object, key: str, default: timedelta = DEFAULT_LIFETIME) -> timedelta:
    if value is None:
        return default
    match = _LIFETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(f"`{key}` must be a number and a unit: s, m, h or d", hint=f'such as {key} = "24h"')
    lifetime = timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
        raise ConfigurationError(f"`{key}` must be one minute to seven days", hint="certificates are short-lived")
    return lifetime


def _table(value: object, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"a section [{key}] is needed" if value is None else f"`{key}` must be a section",
            hint="docs/steward.md shows a policy; `enarx-deploy steward --init --state DIR` writes one",
        )
    return value


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise _unknown_key(key, known, prefix)


def _unknown_key(key: str, known: Sequence[str], prefix: str) -> ConfigurationError:
    nearest = difflib.get_close_matches(key, known, n=1)
    guess = f"; did you mean `{prefix}{nearest[0]}`?" if nearest else ""
    return ConfigurationError(f"unknown key `{prefix}{key}`{guess}", hint=f"known: {', '.join(sorted(known))}")
