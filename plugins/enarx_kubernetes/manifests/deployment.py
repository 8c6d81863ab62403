"""The Deployment: replicas of one pod, replaced one by one, each when the next one serves."""

from __future__ import annotations

from lightkube.models.apps_v1 import DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment
from lightkube.resources.apps_v1 import Deployment

from enarx_kubernetes import labels
from enarx_kubernetes.desired import Desired
from enarx_kubernetes.manifests import pod
from enarx_kubernetes.manifests.metadata import metadata, pods


def deployment(desired: Desired) -> Deployment:
    """With an autoscaler the count of replicas is the autoscaler's, and not said here."""
    made = metadata(desired)
    made.annotations = {labels.PACKAGE: desired.package, labels.BACKEND: desired.backend}
    return Deployment(
        metadata=made,
        spec=DeploymentSpec(
            replicas=None if desired.settings.max_replicas else desired.replicas,
            revisionHistoryLimit=desired.settings.revisions,
            progressDeadlineSeconds=desired.settings.patience,
            selector=pods(desired),
            strategy=DeploymentStrategy(
                type="RollingUpdate", rollingUpdate=RollingUpdateDeployment(maxSurge=1, maxUnavailable=0)
            ),
            template=pod.template(desired),
        ),
    )
