"""What every object has: a name, a namespace, labels."""

from __future__ import annotations

from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from enarx_kubernetes import labels
from enarx_kubernetes.desired import Desired


def metadata(desired: Desired, name: str = "") -> ObjectMeta:
    """Of an object of this deployment, with the deployment's own name where no other is given."""
    return ObjectMeta(name=name or desired.name, namespace=desired.namespace, labels=labels.labels(desired.name))


def pods(desired: Desired) -> LabelSelector:
    """The pods of this deployment."""
    return LabelSelector(matchLabels=labels.selector(desired.name))
