"""How a plan reaches people: what becomes of the Keeps in one line, and a line for each change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx_deploy.plan import Plan

_ACTIONS = {
    "none": "nothing changes",
    "create": "{count} would be started",
    "replace": "{keeps} would be replaced by {count}",
    "certify": "{keeps} would get a certificate and serve",
}


def shown(plan: Plan) -> str:
    """The plan as people read it."""
    count = "1 Keep" if plan.replicas == 1 else f"{plan.replicas} Keeps"
    keeps = f"Keep{'s' if len(plan.keeps) > 1 else ''} {', '.join(plan.keeps)}"
    where = f"{plan.environment}: " if plan.environment else ""
    place = f"{plan.target} on {plan.host}" if plan.host else plan.target
    head = f"{where}{plan.name} on target {place}, backend {plan.backend}: "
    return "\n".join([head + _ACTIONS[plan.action].format(count=count, keeps=keeps), *_scaled(plan), *_rows(plan)])


def _scaled(plan: Plan) -> list[str]:
    if plan.replicas == plan.asked:
        return []
    return [f"  replicas     {scaled(plan.replicas, plan.asked)}"]


def scaled(replicas: int, asked: int) -> str:
    """Why there are not as many Keeps as the manifest wants."""
    return f"{replicas}, as it was scaled to; the manifest wants {asked}, as before"


def _rows(plan: Plan) -> list[str]:
    from enarx_deploy.cli.progress import short

    rows = []
    for change in plan.changes:
        before, after = (short(one) if one.startswith("sha256:") else one for one in (change.before, change.after))
        label = f"{'' if change.name else change.part:<12}"
        what = f"{change.name}: " if change.name else ""
        rows.append(f"  {label} {what}{_from_to(before, after)}")
    return rows


def _from_to(before: str, after: str) -> str:
    if not before:
        return after if after else "(empty)"
    return f"{before} → {after}" if after else f"{before} → (gone)"
