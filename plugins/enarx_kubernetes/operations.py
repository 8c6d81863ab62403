"""What is done with a deployment that is there: scaled, looked back at, taken back, ended."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.autoscaling_v1 import HorizontalPodAutoscaler
from lightkube.resources.core_v1 import ConfigMap, Node, Pod, Service
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.types import PatchType

from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.host import metrics
from enarx_deploy.models import Endpoint, KeepStatus, Usage, Version
from enarx_kubernetes import labels, pods, rollout

if TYPE_CHECKING:
    from enarx_deploy.protocols import Progress
    from enarx_kubernetes.cluster import Cluster

_SCALING = f"{labels.MANAGER}-scale"
_GOING_BACK = f"{labels.MANAGER}-rollback"
"""Field managers beside that of `apply`: the next deployment takes back what they set."""

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_NAMED_ALIKE = (HorizontalPodAutoscaler, Deployment, PodDisruptionBudget, NetworkPolicy, Service)


def keeps(cluster: Cluster, name: str, keep: str) -> list[KeepStatus]:
    """The pods of a deployment as Keeps, oldest first."""
    deployment = rollout.get(cluster, name)
    versions = {
        (one.metadata.labels or {}).get(pods.HASH): rollout.revision(one)
        for one in rollout.replica_sets(cluster, deployment)
    }
    served = endpoints(cluster, name)
    found = []
    for pod in pods.of_deployment(cluster, name):
        version = (pod.metadata.labels or {}).get(pods.HASH) if pod.metadata else None
        found.append(pods.status(pod, keep, served, versions.get(version, 0)))
    return found


def usage(cluster: Cluster, pod: str) -> Usage:
    """What a pod's Keep uses, as its host process counts it; unknown where the pod serves no metrics."""
    with cluster.asked(f"looking at {pod}"):
        found = cluster.client.get(Pod, pod, namespace=cluster.namespace)
    port = ((found.metadata.annotations if found.metadata else None) or {}).get(labels.METRICS_PORT, "")
    if not port.isdecimal():
        return Usage()
    try:
        return metrics.usage_in(cluster.page(pod, int(port), "metrics"))
    except ValueError as error:
        raise KeepError(f"the metrics of {pod} cannot be read: {error}", hint="is another program in it?") from error


def endpoints(cluster: Cluster, name: str) -> list[Endpoint]:
    """Where clients reach a deployment: by a balancer or by nodes where the Service has them, else in the cluster."""
    with cluster.asked(f"looking at the Service {name}"):
        services = list(cluster.client.list(Service, namespace=cluster.namespace, labels=dict(labels.selector(name))))
    found = []
    for service in services:
        told = _told(service)
        for port in (service.spec.ports if service.spec else None) or []:
            host, number = _reached(cluster, service, port)
            socket, prot = told.get(port.name or "", (port.name or name, "tcp"))
            found.append(Endpoint(name=socket, host=host, port=number, prot=prot))
    return found


def _told(service: Any) -> dict[str, tuple[str, Literal["tls", "tcp"]]]:
    """What was said of a Service's ports when it was applied, if nobody changed it since."""
    text = (service.metadata.annotations or {}).get(labels.ENDPOINTS, "{}")
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(text, type=dict[str, tuple[str, Literal["tls", "tcp"]]])
    return {}


def _reached(cluster: Cluster, service: Any, port: Any) -> tuple[str, int]:
    balancer = service.status.loadBalancer if service.status else None
    for one in (balancer.ingress if balancer else None) or []:
        return one.ip or one.hostname, port.port
    if service.spec.type == "NodePort" and port.nodePort:
        with contextlib.suppress(KeepError), cluster.asked("listing nodes"):
            for node in cluster.client.list(Node):
                for address in (node.status.addresses if node.status else None) or []:
                    if address.type in ("ExternalIP", "InternalIP"):
                        return address.address, port.nodePort
    return f"{service.metadata.name}.{cluster.namespace}.svc", port.port


def scale(cluster: Cluster, name: str, replicas: int, progress: Progress, patience: float) -> None:
    """Have so many replicas; returns when they serve. Raises KeepError, UsageError where an autoscaler decides."""
    with cluster.asked("looking for an autoscaler"):
        scalers = list(
            cluster.client.list(
                HorizontalPodAutoscaler, namespace=cluster.namespace, labels=dict(labels.selector(name))
            )
        )
    if scalers:
        raise UsageError(
            f"an autoscaler decides how many replicas {name} has",
            hint="change `replicas` and `max_replicas` in [deploy.NAME], and deploy",
        )
    with cluster.asked(f"scaling {name}"):
        cluster.client.patch(
            Deployment,
            name,
            {"spec": {"replicas": replicas}},
            namespace=cluster.namespace,
            patch_type=PatchType.MERGE,
            field_manager=_SCALING,
        )
    rollout.await_rollout(cluster, name, progress, patience)


def history(cluster: Cluster, name: str) -> list[Version]:
    """The versions that the cluster keeps, oldest first."""
    deployment = rollout.get(cluster, name)
    sets = rollout.replica_sets(cluster, deployment)
    newest = rollout.revision(sets[-1]) if sets else 0
    return [_version(one, deployment, is_newest=rollout.revision(one) == newest) for one in sets]


def _version(one: Any, deployment: Any, *, is_newest: bool) -> Version:
    template = one.spec.template.metadata if one.spec and one.spec.template else None
    annotations = (template.annotations if template else None) or {}
    serving = bool(one.status and one.status.readyReplicas)
    failed = next(
        (
            condition.message or ""
            for condition in (deployment.status.conditions if deployment.status else None) or []
            if is_newest and condition.type == "Progressing" and condition.status == "False"
        ),
        None,
    )
    return Version(
        number=rollout.revision(one),
        package=annotations.get(labels.PACKAGE, ""),
        backend=annotations.get(labels.BACKEND, ""),
        created=pods.rfc3339(one.metadata.creationTimestamp),
        state="serving" if serving else "failed" if failed is not None else "pending" if is_newest else "replaced",
        reason=failed or "",
    )


def go_back(cluster: Cluster, name: str, to: int, progress: Progress, patience: float) -> Version:
    """Serve an earlier version again; 0 is the one before the present one. Raises KeepError, UsageError."""
    deployment = rollout.get(cluster, name)
    sets = rollout.replica_sets(cluster, deployment)
    chosen = _earlier(sets, to, name)
    take_back(cluster, name, chosen)
    rollout.await_rollout(cluster, name, progress, patience)
    return history(cluster, name)[-1]


def take_back(cluster: Cluster, name: str, earlier: Any) -> None:
    """Have the pods of an earlier version's form again, without waiting for them."""
    template = earlier.spec.template.to_dict()
    template["metadata"]["labels"].pop(pods.HASH, None)
    with cluster.asked(f"going back to version {rollout.revision(earlier)}"):
        cluster.client.patch(
            Deployment,
            name,
            [{"op": "replace", "path": "/spec/template", "value": template}],
            namespace=cluster.namespace,
            patch_type=PatchType.JSON,
            field_manager=_GOING_BACK,
        )


def _earlier(sets: list[Any], to: int, name: str) -> Any:
    numbers = [rollout.revision(one) for one in sets]
    if not to and len(sets) > 1:
        return sets[-2]
    if to in numbers[:-1]:
        return sets[numbers.index(to)]
    if to and to == numbers[-1:][0]:
        raise UsageError(f"version {to} of {name} is the present one", hint="`enarx-deploy history` lists them")
    there = ", ".join(map(str, numbers[:-1])) or "none"
    raise UsageError(f"{name} has no earlier version{f' {to}' if to else ''}", hint=f"those that are kept: {there}")


def stop(cluster: Cluster, name: str, pod: str, grace: float) -> bool:
    """End one replica. Answers whether it was the last, with which all of the deployment has ended."""
    deployment = rollout.get(cluster, name)
    replicas = deployment.spec.replicas if deployment.spec.replicas is not None else 1
    if replicas <= 1:
        remove(cluster, name, grace)
        return True
    with cluster.asked(f"ending {pod}"):
        cluster.client.set(Pod, pod, namespace=cluster.namespace, annotations={_DELETION_COST: "-1"})
        cluster.client.patch(
            Deployment,
            name,
            {"spec": {"replicas": replicas - 1}},
            namespace=cluster.namespace,
            patch_type=PatchType.MERGE,
            field_manager=_SCALING,
        )
    return False


def remove(cluster: Cluster, name: str, grace: float) -> None:
    """End a deployment, and remove everything that belongs to it."""
    for kind in _NAMED_ALIKE:
        cluster.remove(kind, name)
    with cluster.asked(f"removing what belongs to {name}"):
        for one in list(
            cluster.client.list(ConfigMap, namespace=cluster.namespace, labels=dict(labels.selector(name)))
        ):
            cluster.client.delete(
                ConfigMap, str(one.metadata.name if one.metadata else ""), namespace=cluster.namespace
            )
        for pod in pods.of_deployment(cluster, name):
            cluster.client.delete(
                Pod,
                str(pod.metadata.name if pod.metadata else ""),
                namespace=cluster.namespace,
                grace_period=int(grace) + 1,
            )


def tidy(cluster: Cluster, name: str, current: str) -> None:
    """Remove the ConfigMaps of versions that the cluster does not keep any more."""
    deployment = rollout.get(cluster, name)
    needed = {current}
    for one in rollout.replica_sets(cluster, deployment):
        for volume in (one.spec.template.spec.volumes if one.spec and one.spec.template.spec else None) or []:
            needed |= {volume.configMap.name} if volume.configMap else set()
    with cluster.asked("removing what no version needs"):
        for one in list(
            cluster.client.list(ConfigMap, namespace=cluster.namespace, labels=dict(labels.selector(name)))
        ):
            if one.metadata and one.metadata.name not in needed:
                cluster.client.delete(ConfigMap, str(one.metadata.name), namespace=cluster.namespace)
