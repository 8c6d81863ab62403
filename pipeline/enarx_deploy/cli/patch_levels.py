"""What `platform` says of a machine's patch level, beside what its backends need of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enarx_deploy.models import Probe, ProbeCheck


def with_patch_level(probe: Probe, quote: Path | None, store: Path | None) -> Probe:
    """The probe, with checks of the level where there is one. Whether the backend can be used is not up to them.

    Raises UsageError where `quote` cannot be read.
    """
    import msgspec

    if not probe.available and quote is None:
        return probe
    return msgspec.structs.replace(probe, checks=[*probe.checks, *_checks(probe.backend, quote, store)])


def _checks(kind: str, quote: Path | None, store: Path | None) -> Iterator[ProbeCheck]:
    from datetime import UTC, datetime

    from enarx_deploy.cli import evidence_files
    from enarx_deploy.cli.collateral_store import open_store
    from enarx_deploy.machine import Machine, patch_level

    if kind == "snp":
        yield from patch_level.snp(Machine(), open_store(store), _minimum())
    elif kind in patch_level.BY_QUOTE:
        if quote is None:
            yield patch_level.unknown()
            return
        content = evidence_files.read_evidence(quote)
        yield patch_level.by_quote(kind, content, open_store(store), datetime.now(UTC))


def _minimum() -> Mapping[str, Any]:
    """What the user's own Steward asks of SNP's level, by product line; nothing where there is no such policy."""
    from enarx_attestation import PolicyError, load_policy
    from enarx_deploy.cli import evidence_files
    from enarx_deploy.errors import UsageError
    from enarx_deploy.paths import state_dir

    policy = state_dir("steward") / "steward.toml"
    if not policy.exists():
        return {}
    try:
        section = load_policy(evidence_files.read_tables(policy)).snp
    except (UsageError, PolicyError):  # which the Steward says when it starts
        return {}
    return {} if section is None else section.minimum_tcb
