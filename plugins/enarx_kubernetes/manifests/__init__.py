"""Everything that a deployment is in a cluster: one module for each kind of object, made of a `Desired`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_kubernetes.manifests.autoscaler import autoscaler
from enarx_kubernetes.manifests.config_map import config_map
from enarx_kubernetes.manifests.deployment import deployment
from enarx_kubernetes.manifests.disruption_budget import disruption_budget
from enarx_kubernetes.manifests.network_policy import network_policy
from enarx_kubernetes.manifests.service import service

if TYPE_CHECKING:
    from lightkube.core.resource import NamespacedResource

    from enarx_kubernetes.desired import Desired


def objects(desired: Desired) -> list[NamespacedResource]:
    """In the order in which they are applied: the pods come last, when all that they need is there."""
    made = [config_map(desired), service(desired), network_policy(desired), disruption_budget(desired)]
    return [one for one in (*made, autoscaler(desired), deployment(desired)) if one is not None]
