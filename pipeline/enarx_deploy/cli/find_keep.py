"""From what a user types to a Keep: its id, the beginning of its id, or its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enarx_deploy.errors import EnarxDeployError, UsageError
from enarx_deploy.models import ALIVE

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.models import KeepStatus
    from enarx_deploy.protocols import Target


@dataclass(frozen=True)
class Found:
    """A Keep, and the target that knows it."""

    target: Target
    status: KeepStatus

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.status.state in ALIVE


def all_keeps(context: Context, warn: Callable[[str], None] | None = None) -> list[Found]:
    """Every Keep of every target, or of the one that `--target` names; a target that cannot say is warned about."""
    targets = [context.named_target()] if context.target else context.plugins.all("target")
    found = [keep for target in targets for keep in _keeps_of(context, target, warn or context.warn)]
    return sorted(found, key=lambda keep: keep.status.created)


def find_keep(context: Context, reference: str) -> Found:
    """The Keep that is meant. A name means the one that is alive, else the newest. Raises UsageError."""
    candidates = meant(all_keeps(context), reference)
    if not candidates:
        raise UsageError(f"no Keep is known as {reference!r}", hint="`enarx-deploy keeps` lists those that are")
    return _the_one(candidates, reference)


def find_keeps(context: Context, reference: str) -> list[Found]:
    """The same, but a name means every Keep of that name that is alive: replicas go by one name. Raises UsageError."""
    candidates = meant(all_keeps(context), reference)
    alive = [keep for keep in candidates if keep.alive]
    if alive and all(keep.status.name == reference for keep in candidates):
        return alive
    return [find_keep(context, reference)]


def meant(keeps: list[Found], reference: str) -> list[Found]:
    """Those of the Keeps that a reference may mean, by the first of the ways that finds any."""
    for matches in _MATCHES:
        if candidates := [keep for keep in keeps if matches(keep.status, reference)]:
            return candidates
    return []


_MATCHES: tuple[Callable[[KeepStatus, str], bool], ...] = (
    lambda status, reference: status.id == reference,
    lambda status, reference: status.name == reference,
    lambda status, reference: bool(reference) and status.id.startswith(reference),
)


def _the_one(candidates: list[Found], reference: str) -> Found:
    same_name = all(keep.status.name == reference for keep in candidates)
    if same_name:
        candidates = [keep for keep in candidates if keep.alive] or candidates[-1:]
    if len(candidates) == 1:
        return candidates[0]
    ids = ", ".join(keep.status.id for keep in candidates)
    raise UsageError(f"{reference!r} may mean {len(candidates)} Keeps: {ids}", hint="give more of the id")


def _keeps_of(context: Context, target: Target, warn: Callable[[str], None]) -> Iterator[Found]:
    try:
        with context.plugins.boundary():
            statuses = target.keeps()
    except EnarxDeployError as error:
        warn(f"target {target.name}: {error}")
        return
    for status in statuses:
        yield Found(target, status)
