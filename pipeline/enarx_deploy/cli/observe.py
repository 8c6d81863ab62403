"""The Keeps and what they use, at one moment: what `top`, `metrics` and `console` show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from enarx_deploy.cli.find_keep import Found, all_keeps
from enarx_deploy.errors import EnarxDeployError
from enarx_deploy.models import Usage

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.models import KeepStatus

_AT_ONCE = 8
UNKNOWN = Usage()


class Observed(NamedTuple):
    """A Keep, and what it uses; `UNKNOWN` where its target cannot tell, or it has ended.

    It is the `replica`th of `replicas` Keeps of its name that are alive, the oldest being the first; 0 if it has ended.
    """

    found: Found
    usage: Usage
    replica: int = 0
    replicas: int = 0

    @property
    def status(self) -> KeepStatus:
        return self.found.status


def observe(context: Context, warn: Callable[[str], None] | None = None) -> list[Observed]:
    """Every Keep that is alive, and the last of each name. Oldest first. `warn` is told of targets that cannot say."""
    keeps = all_keeps(context, warn)
    last = {(keep.status.target, keep.status.name): keep for keep in keeps}
    shown = [keep for keep in keeps if keep.alive or last[keep.status.target, keep.status.name] is keep]
    alike: dict[tuple[str, str, str], list[Found]] = {}
    for keep in shown:
        if keep.alive:
            alike.setdefault(_deployment(keep), []).append(keep)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        used = pool.map(lambda keep: _usage(context, keep), shown)
        return [Observed(keep, usage, *_place(keep, alike)) for keep, usage in zip(shown, used, strict=True)]


def _deployment(keep: Found) -> tuple[str, str, str]:
    return (keep.status.target, keep.status.host, keep.status.name)


def _place(keep: Found, alike: Mapping[tuple[str, str, str], list[Found]]) -> tuple[int, int]:
    """Which one it is of how many."""
    found = alike.get(_deployment(keep), [])
    return (found.index(keep) + 1 if keep in found else 0, len(found))


def _usage(context: Context, keep: Found) -> Usage:
    from enarx_deploy.protocols import Measures

    if not keep.alive or not isinstance(keep.target, Measures):
        return UNKNOWN
    try:
        with context.plugins.boundary():
            return keep.target.usage(keep.status.id)
    except EnarxDeployError:  # it ended meanwhile, or does not answer: its state says which
        return UNKNOWN


def most_recent(keeps: Sequence[Observed]) -> list[Observed]:
    """The newest first, those that are alive before those that have ended."""
    return sorted(keeps, key=lambda keep: (keep.found.alive, keep.status.created), reverse=True)
