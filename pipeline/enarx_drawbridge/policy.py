"""Who may do what on a Drawbridge server: `drawbridge.toml`.

[oidc]                               # without it nobody can write, nor read what is private by a token
issuer = "https://auth.example.org"
audience = "https://drawbridge.example.org"
verify = "jwt"                       # the default; "userinfo" asks the issuer about every token (Drawbridge 0.2)
algorithms = ["RS256", "ES256"]      # the default
client_id = "abc"                    # of the public client with which users log in, told to whoever asks
scopes = []                          # what a token is for that names no scope, as those of CI jobs do not

[keeps]                              # Keeps with a certificate may fetch the package that it names
roots = "steward.pem"                # the Steward's root, beside this file or an absolute path
trust_domain = "example.org"         # as the Steward's policy has it
unprotected = false                  # the default; true also serves Keeps without hardware protection (nil)

[repositories]
public = true                        # the default: an owner may make one that everybody can read

[quota]                              # of each user; these are the defaults
bytes = 10_000_000_000
repositories = 100
tags = 10_000                        # of all repositories together
users = 1                            # names that one OpenID Connect subject can have
uploads = "24h"                      # after which a publish that was not finished is forgotten

[limits]                             # of requests by one address; these are the defaults
requests_per_minute = 6000
burst = 12000
trusted_proxies = []
"""

from __future__ import annotations

import os
import stat
import tomllib
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from enarx_service.rate_limit import Limits, Network
from enarx_toml.positions import Positions

from .errors import ConfigurationError

FILE: Final = "drawbridge.toml"
MAX_SIZE: Final = 1 << 20

Count = Annotated[int, Meta(ge=0, le=2**53)]
Rate = Annotated[int, Meta(ge=1, le=1_000_000)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
"""None that is keyed by a shared secret."""


class Oidc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose tokens are believed."""

    issuer: str
    audience: str = ""
    verify: Literal["jwt", "userinfo"] = "jwt"
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256")
    client_id: Annotated[str, Meta(max_length=256)] = ""
    scopes: tuple[str, ...] = ()


class Keeps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose certificates are believed. `roots` is a path until the policy is loaded, and then the PEM in it."""

    roots: str
    trust_domain: Annotated[str, Meta(pattern=r"^[a-z0-9._-]{1,255}\Z")]
    unprotected: bool = False


class Repositories(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What repositories may be."""

    public: bool = True


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one user may have."""

    bytes: Count = 10_000_000_000
    repositories: Count = 100
    tags: Count = 10_000
    users: Count = 1
    uploads: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}h\Z")] = "24h"

    @property
    def patience(self) -> timedelta:
        """How long a publish may take from its root to its tag."""
        return timedelta(hours=int(self.uploads[:-1]))


class _Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    requests_per_minute: Rate = 6000
    burst: Rate = 12_000
    trusted_proxies: Annotated[tuple[str, ...], Meta(max_length=64)] = ()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy file as read once; what is not in it has its default."""

    oidc: Oidc | None = None
    keeps: Keeps | None = None
    repositories: Repositories = Repositories()
    quota: Quota = Quota()
    limits: _Limits = _Limits()

    @property
    def request_limits(self) -> Limits:
        """How often one address may ask."""
        return Limits(
            requests_per_minute=self.limits.requests_per_minute,
            burst=self.limits.burst,
            trusted_proxies=tuple(map(ip_network, self.limits.trusted_proxies)),
            own_machine=self.limits != _Limits(),
        )


TEMPLATE: Final = """\
# Policy of a Drawbridge server. It is yours to change; the server reads it when it starts.
# As it stands nobody can write: name the OpenID Connect provider whose tokens are believed.

# [oidc]
# issuer = "https://auth.example.org"
# audience = "https://drawbridge.example.org"

# Keeps with a certificate of this Steward may fetch the package that the certificate names, private ones too.
# [keeps]
# roots = "steward.pem"
# trust_domain = "example.org"

# [quota]
# bytes = 10_000_000_000
"""


def write_template(path: Path) -> bool:
    """Write a policy to begin with, unless there is one. Returns whether it was written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="may you read and write there?") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(TEMPLATE)
    return True


def load(path: Path, *, named: bool = False) -> Policy:
    """Read a policy file; where there is none, the defaults hold. Raises `ConfigurationError` with file and line, and
    for a file that is not there but was named."""
    try:
        data = _read(path)
    except FileNotFoundError as error:
        if named:
            raise ConfigurationError(f"{path}: there is no such file", hint="--policy names it") from error
        return Policy()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="may you read and write there?") from error
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}", hint="docs/drawbridge.md shows one") from error
    try:
        return _with_roots(_checked(msgspec.convert(tables, Policy)), path)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        place = _place(data, where.rstrip("`"))
        key = f" (`{where.rstrip('`')}`)" if where else ""
        raise ConfigurationError(f"{path}{place}: {what}{key}", hint="docs/drawbridge.md has every key") from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigurationError(f"{path}: others can write to the policy", hint=f"chmod go-w {path}")
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise ConfigurationError(f"{path}: a policy has at most {MAX_SIZE} bytes", hint="is this the right file?")
    return data


def _place(data: bytes, where: str) -> str:
    path = tuple(part for part in where.split(".") if part)
    index = Positions(data.decode("utf-8-sig"))
    while path and path not in index:
        path = path[:-1]
    return f":{index.key(path)[0]}" if path else ""


def _checked(policy: Policy) -> Policy:
    oidc = policy.oidc
    if oidc is not None:
        url = urlsplit(oidc.issuer)
        on_this_machine = url.scheme == "http" and url.hostname in ("localhost", "127.0.0.1", "::1")
        if (url.scheme != "https" and not on_this_machine) or not url.hostname or url.username or url.query:
            raise msgspec.ValidationError("an issuer is an https:// URL - at `$.oidc.issuer`")
        if oidc.verify == "jwt" and not oidc.audience:
            raise msgspec.ValidationError("a token that is a JWT has an audience to check - at `$.oidc`")
    for proxy in policy.limits.trusted_proxies:
        try:
            _: Network = ip_network(proxy)
        except ValueError as error:
            raise msgspec.ValidationError(f"{proxy!r} is no network - at `$.limits.trusted_proxies`") from error
    return policy


def _with_roots(policy: Policy, path: Path) -> Policy:
    if policy.keeps is None:
        return policy
    roots = path.parent / policy.keeps.roots
    try:
        pem = roots.read_text("ascii")
    except (OSError, ValueError) as error:
        reason: Any = getattr(error, "strerror", None) or "not PEM"
        raise ConfigurationError(f"{roots}: {reason}", hint="`keeps.roots` names a Steward's root.pem") from error
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise ConfigurationError(f"{roots}: no certificate in it", hint="`keeps.roots` names a Steward's root.pem")
    return msgspec.structs.replace(policy, keeps=msgspec.structs.replace(policy.keeps, roots=pem))
