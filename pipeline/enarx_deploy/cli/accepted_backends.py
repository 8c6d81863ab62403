"""Which backends the user accepts: those that were named, or those of the policy of the user's own Steward."""

from __future__ import annotations

from pathlib import Path

from enarx_deploy.errors import UsageError


def accepted_backends(own_steward: Path | None, accept: tuple[str, ...]) -> tuple[frozenset[str], str]:
    """Which backends will do, and who says so."""
    from enarx_steward import policy
    from enarx_steward.errors import ConfigurationError

    if accept or own_steward is None:
        return frozenset(accept), "--accept"
    path = own_steward / "steward.toml"
    if not path.exists():
        return frozenset(), "this machine has no Steward of yours, and"
    try:
        return frozenset(policy.load(path).grants), str(path)
    except ConfigurationError as error:
        raise UsageError(str(error), hint="say with --accept BACKEND what you accept") from error
