"""What follows from a Keep's end: why it was, whether its policy wants the Keep started again, and how soon."""

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


def has_served_nobody(status: KeepStatus | None) -> bool:
    """Whether it was a workload that serves nobody, and has run to its end before it could be looked at."""
    return status is not None and status.cause == "exit" and not status.endpoints


def reason(status: KeepStatus | None) -> str:
    """Why a Keep has ended, in a line."""
    if status is None:
        return "nothing is known of its end"
    if status.cause == "exit":
        return f"its workload ended with exit status {status.exit_status}"
    return status.reason or status.state
