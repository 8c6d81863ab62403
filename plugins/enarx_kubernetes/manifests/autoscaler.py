"""The HorizontalPodAutoscaler, where the manifest asks for one: by processor time, in a form that all clusters know."""

from __future__ import annotations

from lightkube.models.autoscaling_v1 import CrossVersionObjectReference, HorizontalPodAutoscalerSpec
from lightkube.resources.autoscaling_v1 import HorizontalPodAutoscaler

from enarx_deploy.errors import UsageError
from enarx_kubernetes.desired import Desired
from enarx_kubernetes.manifests.metadata import metadata


def autoscaler(desired: Desired) -> HorizontalPodAutoscaler | None:
    """From `replicas` to `max_replicas`. Raises UsageError where that is no range."""
    most = desired.settings.max_replicas
    if most is None:
        return None
    if most < desired.replicas:
        raise UsageError(
            f"max_replicas = {most} is less than replicas = {desired.replicas}", hint="raise it, or leave it out"
        )
    return HorizontalPodAutoscaler(
        metadata=metadata(desired),
        spec=HorizontalPodAutoscalerSpec(
            scaleTargetRef=CrossVersionObjectReference(apiVersion="apps/v1", kind="Deployment", name=desired.name),
            minReplicas=desired.replicas,
            maxReplicas=most,
            targetCPUUtilizationPercentage=desired.settings.cpu_target,
        ),
    )
