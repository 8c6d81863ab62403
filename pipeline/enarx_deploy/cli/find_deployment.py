"""From what a user types to a deployment: the name of its Keeps, the id of one of them, or the beginning of an id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enarx_deploy.cli.find_keep import all_keeps, meant
from enarx_deploy.errors import UsageError
from enarx_deploy.protocols import Replicas, Versions

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.protocols import Target


@dataclass(frozen=True)
class FoundDeployment:
    """A deployment by its name, and the target that has it."""

    target: Target
    name: str

    @property
    def replicas(self) -> Replicas:
        """The target, if it can have several Keeps serve one deployment. Raises UsageError."""
        if not isinstance(self.target, Replicas):
            raise UsageError(
                f"the target {self.target.name!r} runs one Keep for each deployment",
                hint="its plugin would have to implement `Replicas` (docs/reference/hooks.md)",
            )
        return self.target

    @property
    def versions(self) -> Versions:
        """The target, if it remembers what a deployment was before. Raises UsageError."""
        if not isinstance(self.target, Versions):
            raise UsageError(
                f"the target {self.target.name!r} does not remember earlier versions",
                hint="deploy an earlier package by its digest: `enarx-deploy up REFERENCE@sha256:HEX`",
            )
        return self.target


def find_deployment(context: Context, reference: str) -> FoundDeployment:
    """The deployment that is meant; with `--target` its name is enough, also where it has no Keep. Raises UsageError.

    One of which a Keep is alive goes before those of which none is.
    """
    keeps = meant(all_keeps(context), reference)
    alive = [keep for keep in keeps if keep.alive] or keeps
    found = {(keep.target.name, keep.status.name): FoundDeployment(keep.target, keep.status.name) for keep in alive}
    if len(found) == 1:
        return found.popitem()[1]
    if found:
        places = ", ".join(f"{name} on {target}" for target, name in sorted(found))
        raise UsageError(f"{reference!r} may mean {len(found)} deployments: {places}", hint="add --target NAME")
    if context.target and reference:
        return FoundDeployment(context.named_target(), reference)
    raise UsageError(f"no deployment is known as {reference!r}", hint="`enarx-deploy keeps` lists the Keeps by name")
