"""How the values of a policy file are checked, key by key. Whatever is wrong is told with the name of its key.

All of this raises `ConfigurationError`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from .errors import ConfigurationError

MAX_PACKAGES: Final = 4096
DEFAULT_LIFETIME: Final = timedelta(hours=24)
MIN_LIFETIME: Final = timedelta(minutes=1)
MAX_LIFETIME: Final = timedelta(days=7)
"""Longer would need revocation, which takes the place of a short life and is not offered."""
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")


def table_of(value: object, key: str) -> Mapping[str, Any]:
    """The section of this name."""
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"a section [{key}] is needed" if value is None else f"`{key}` must be a section",
            hint="docs/steward.md shows a policy; `enarx-deploy steward --init --state DIR` writes one",
        )
    return value


def refuse_unknown(table: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    """Refuse a section with a key that is not one of these; `prefix` is the section's name with a dot."""
    for key in table:
        if key not in known:
            raise unknown_key(key, known, prefix)


def unknown_key(key: str, known: Sequence[str], prefix: str) -> ConfigurationError:
    """The error for a key that there is not, with the one that is most like it."""
    nearest = difflib.get_close_matches(key, known, n=1)
    guess = f"; did you mean `{prefix}{nearest[0]}`?" if nearest else ""
    return ConfigurationError(f"unknown key `{prefix}{key}`{guess}", hint=f"known: {', '.join(sorted(known))}")


def check_text(value: object, key: str, pattern: re.Pattern[str], wanted: str) -> None:
    """Refuse what is not text of this form, which is `wanted` in words."""
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ConfigurationError(f"`{key}`: {value!r} is not {wanted}")


def read_digests(value: object, key: str) -> frozenset[str]:
    """A list of packages' digests."""
    if not isinstance(value, list) or len(value) > MAX_PACKAGES:
        raise ConfigurationError(
            f"`{key}` must list digests, at most {MAX_PACKAGES}",
            hint='such as ["sha256:HEX"]; `enarx-deploy package` prints the digest',
        )
    for digest in value:
        check_text(digest, key, DIGEST, "sha256: and 64 digits of small hexadecimal")
    return frozenset(value)


def read_lifetime(value: object, key: str, default: timedelta = DEFAULT_LIFETIME) -> timedelta:
    """A time such as "24h", from one minute to seven days."""
    if value is None:
        return default
    match = _LIFETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(f"`{key}` must be a number and a unit: s, m, h or d", hint=f'such as {key} = "24h"')
    lifetime = timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
        raise ConfigurationError(f"`{key}` must be one minute to seven days", hint="certificates are short-lived")
    return lifetime
