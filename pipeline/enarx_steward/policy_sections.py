"""The sections of a policy file that are not of a kind of evidence: [ca], [collateral], [log], [limits], [packages].

All of this raises `ConfigurationError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from enarx_service.rate_limit import Limits, Network
from enarx_signing import Signers, TrustFault, trust

from .errors import ConfigurationError
from .policy_keys import MIN_LIFETIME, read_digests, read_lifetime, refuse_unknown

MAX_PROXIES: Final = 64
MAX_REQUESTS: Final = 1_000_000
"""Most requests a minute, and at once, that a limit can allow."""
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")  # SPIFFE-ID, section 2.1
_AUDIENCE: Final = re.compile(r"https?://[!-~]{1,2000}")
_CA_KEYS: Final = ("trust_domain", "audience", "evidence_in_certificate", "minimum_lifetime", "renewal_grace")
_LOG_KEYS: Final = ("database", "public")
_LIMITS_KEYS: Final = ("requests_per_minute", "burst", "trusted_proxies")
_ENDORSEMENTS: Final = {"store": False, "request-too": True}


def read_ca(table: Mapping[str, Any]) -> dict[str, Any]:
    """[ca]: its fields in `StewardPolicy`, by name."""
    refuse_unknown(table, _CA_KEYS, "ca.")
    trust_domain, audience = table.get("trust_domain"), table.get("audience", "")
    evidence_in_certificate = table.get("evidence_in_certificate", True)
    if not isinstance(trust_domain, str) or _TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise ConfigurationError(
            "`ca.trust_domain` must be a name of small letters, digits, '.', '-' and '_'",
            hint='[ca] trust_domain = "example.org"; it stands in the SPIFFE URI of every certificate',
        )
    if not isinstance(audience, str) or (audience and _AUDIENCE.fullmatch(audience) is None):
        raise ConfigurationError(
            "`ca.audience` must be the URL by which Keeps know this Steward",
            hint='such as audience = "https://steward.example.org"',
        )
    if not isinstance(evidence_in_certificate, bool):
        raise ConfigurationError("`ca.evidence_in_certificate` must be true or false", hint="without quotes")
    return {
        "trust_domain": trust_domain,
        "audience": audience.rstrip("/"),
        "evidence_in_certificate": evidence_in_certificate,
        "minimum_lifetime": read_lifetime(table.get("minimum_lifetime"), "ca.minimum_lifetime", MIN_LIFETIME),
        "renewal_grace": read_lifetime(table.get("renewal_grace"), "ca.renewal_grace", timedelta()),
    }


def read_collateral(table: Mapping[str, Any]) -> tuple[bool, Path | None]:
    """[collateral]: whether what requesters send counts, and where the store is."""
    refuse_unknown(table, ("endorsements", "store"), "collateral.")
    named, store = table.get("endorsements", "store"), table.get("store")
    if store is not None and not (isinstance(store, str) and Path(store).is_absolute()):
        raise ConfigurationError(
            "`collateral.store` must be the absolute path of a directory",
            hint='such as store = "/var/lib/steward/collateral"',
        )
    if not isinstance(named, str) or named not in _ENDORSEMENTS:
        raise ConfigurationError(
            '`collateral.endorsements` must be "store" or "request-too"',
            hint="a requester would send the oldest list that still holds: store has the Steward's own alone",
        )
    return _ENDORSEMENTS[named], None if store is None else Path(store)


def read_log(table: Mapping[str, Any]) -> tuple[str, bool]:
    """[log]: the database's URL, and whether whoever asks may read the log."""
    refuse_unknown(table, _LOG_KEYS, "log.")
    database, public = table.get("database", ""), table.get("public", False)
    if not isinstance(database, str):
        raise ConfigurationError(
            "`log.database` must be the URL of a PostgreSQL database",
            hint='such as database = "postgresql://steward@db.example.org/steward"',
        )
    if not isinstance(public, bool):
        raise ConfigurationError("`log.public` must be true or false", hint="without quotes")
    return database, public


def read_limits(table: Mapping[str, Any]) -> Limits:
    """[limits]."""
    refuse_unknown(table, _LIMITS_KEYS, "limits.")
    numbers = {name: table[name] for name in ("requests_per_minute", "burst") if name in table}
    for name, number in numbers.items():
        if type(number) is not int or not 1 <= number <= MAX_REQUESTS:
            raise ConfigurationError(
                f"`limits.{name}` must be a number from 1 to {MAX_REQUESTS}", hint="a whole number, without quotes"
            )
    proxies = table.get("trusted_proxies", [])
    if not isinstance(proxies, list) or len(proxies) > MAX_PROXIES:
        raise ConfigurationError(
            f"`limits.trusted_proxies` must list addresses, at most {MAX_PROXIES}",
            hint='such as trusted_proxies = ["10.0.0.7"]',
        )
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


def read_packages(table: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """[packages] without its signers: the allowed packages and the denied ones."""
    refuse_unknown(table, ("allow", "deny"), "packages.")
    allow, deny = (read_digests(table.get(name, []), f"packages.{name}") for name in ("allow", "deny"))
    if allow & deny:
        raise ConfigurationError(
            f"{min(allow & deny)} is both in `packages.allow` and in `packages.deny`", hint="take it out of one of them"
        )
    return allow, deny


def read_signers(value: object) -> Signers:
    """[[packages.signers]]."""
    try:
        return trust.of_tables(value)
    except TrustFault as exc:
        raise ConfigurationError(f"`packages.signers`: {exc}", hint=exc.hint) from exc
