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

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

import msgspec

from enarx_attestation import Policy, PolicyError, load_policy
from enarx_service.rate_limit import Limits
from enarx_signing import Signers
from enarx_toml.positions import Positions

from .errors import ConfigurationError
from .grants import GRANT_KEYS, Grant, GrantRule, SecretRule, read_grant, read_rules, read_secrets, require_signers
from .policy_keys import MIN_LIFETIME, refuse_unknown, table_of, unknown_key
from .policy_sections import read_ca, read_collateral, read_limits, read_log, read_packages, read_signers
from .workload import Workload

MAX_SIZE: Final = 1 << 20
"""Most bytes of a policy file."""
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `([^`]*)`")
_NAMED_KEY: Final = re.compile(r"`((?:\$|[A-Za-z0-9_-]+)[A-Za-z0-9_.\[\]-]*)`")
_PART: Final = re.compile(r"\$|[A-Za-z0-9_-]+")
_TABLES: Final = ("ca", "collateral", "packages", "grant", "secret", "log", "limits")


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
        raise ConfigurationError(
            f"not TOML: {exc}", hint='such as [ca] in a line of its own, and trust_domain = "example.org" below it'
        ) from exc
    refuse_unknown(tables, [*Policy.__struct_fields__, *_TABLES], "")
    ca = read_ca(table_of(tables.pop("ca", None), "ca"))
    requester_counts, collateral_store = read_collateral(table_of(tables.pop("collateral", {}), "collateral"))
    packages = dict(table_of(tables.pop("packages", {}), "packages"))
    signers = read_signers(packages.pop("signers", []))
    allowed_packages, denied_packages = read_packages(packages)
    database, log_public = read_log(table_of(tables.pop("log", {}), "log"))
    limits = read_limits(table_of(tables.pop("limits", {}), "limits"))
    granted = tables.pop("grant", [])
    released = tables.pop("secret", [])
    if not tables:
        raise ConfigurationError("the policy accepts nothing", hint="add a section such as [nil], [snp], [sgx]")
    sections = {kind: dict(table_of(table, kind)) for kind, table in tables.items()}
    rules = read_rules(granted, tables)
    require_signers(rules, signers)
    grants = {kind: read_grant(kind, section, nameless=bool(rules)) for kind, section in sections.items()}
    try:
        appraisal = load_policy(sections)
    except PolicyError as exc:
        raise _explained(exc, sections) from exc
    return StewardPolicy(
        appraisal=appraisal,
        grants=MappingProxyType(grants),
        rules=rules,
        secrets=read_secrets(released, tables),
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
        raise ConfigurationError(
            f"the policy cannot be read: {exc.strerror}", hint="is it a file, and may the Steward read it?"
        ) from exc
    if len(data) > MAX_SIZE:
        raise ConfigurationError(f"a policy has at most {MAX_SIZE} bytes", hint="is this the right file?")
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


def _explained(error: PolicyError, sections: Mapping[str, Mapping[str, Any]]) -> ConfigurationError:
    """The library knows which keys there are, Enarx's among them; here an unknown one gets its nearest neighbour."""
    unknown = _UNKNOWN_FIELD.search(str(error))
    for kind, section in sections.items():
        if unknown and unknown[1] in section:
            return unknown_key(unknown[1], [*_rule_keys(kind), *GRANT_KEYS], f"{kind}.")
    return ConfigurationError(str(error), hint=error.hint)


def _rule_keys(kind: str) -> list[str]:
    section = get_type_hints(Policy)[kind]
    return [name for option in get_args(section) for name in getattr(option, "__struct_fields__", ())]
