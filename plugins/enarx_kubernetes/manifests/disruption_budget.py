"""The PodDisruptionBudget: whoever empties nodes takes one replica at a time."""

from __future__ import annotations

from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.policy_v1 import PodDisruptionBudget

from enarx_kubernetes.desired import Desired
from enarx_kubernetes.manifests.metadata import metadata, pods


def disruption_budget(desired: Desired) -> PodDisruptionBudget:
    """With a single replica it says the same, and holds up nobody who empties its node."""
    return PodDisruptionBudget(
        metadata=metadata(desired), spec=PodDisruptionBudgetSpec(maxUnavailable=1, selector=pods(desired))
    )
