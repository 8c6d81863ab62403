"""When a Keep that has ended is started again: whether its policy wants that, and how soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from enarx_deploy.models import KeepStatus

Policy = Literal["always", "on-failure", "never"]
"""`on-failure`: unless the workload ended by itself with exit status 0. One that was asked to end stays ended."""

SOONEST, LATEST = 0.25, 60.0
"""Seconds between an end and the next start, at least and at most."""
STEADY = 60.0
"""Seconds after which a Keep that ran so long counts as one that had not failed before."""


def wanted(policy: Policy, status: KeepStatus | None) -> bool:
    """Whether a Keep that ended so is to be started again; None is one of which nothing is known."""
    if policy == "never" or (status is not None and status.cause == "killed"):
        return False
    return policy == "always" or status is None or status.cause != "exit" or status.exit_status != 0


def pause(failures: int) -> float:
    """Seconds until the next start, after so many failures in a row: twice as long each time, within bounds."""
    return min(LATEST, SOONEST * 2.0 ** min(max(failures - 1, 0), 30))
