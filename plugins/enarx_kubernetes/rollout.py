"""Waiting until a deployment is what it should be, telling how far it is, and giving up where it cannot become so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from enarx_deploy.errors import KeepError
from enarx_kubernetes import faults, labels, pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enarx_deploy.protocols import Progress
    from enarx_kubernetes.cluster import Cluster

_LOOK_EVERY = 0.5  # seconds
_CRASHES = 2
"""So often a container may have ended before its deployment is given up, where nobody knows why it does."""


@dataclass
class _Watched:
    """What is seen of one rollout, and since when each fault is there."""

    since: dict[str, float] = field(default_factory=dict)
    told: str = ""


def await_rollout(cluster: Cluster, name: str, progress: Progress, patience: float) -> None:
    """Return when all replicas are of the newest version and serve. Raises KeepError, decoded where it can be."""
    watched = _Watched()
    until = time.monotonic() + patience
    while True:
        deployment = get(cluster, name)
        line, done = _standing(deployment)
        if line != watched.told:
            watched.told = line
            progress(line)
        if done:
            return
        _give_up_on_faults(cluster, deployment, watched, progress)
        if time.monotonic() > until:
            raise KeepError(
                f"{name} was not rolled out in {patience:.0f} s: {line}",
                hint=f"`kubectl --context {cluster.context} -n {cluster.namespace} describe pods` shows what it waits "
                "for; `patience` in [deploy.NAME.kubernetes] is how long that may take",
            )
        time.sleep(_LOOK_EVERY)


def get(cluster: Cluster, name: str) -> Any:
    """The Deployment as it stands. Raises KeepError."""
    with cluster.asked(f"looking at {name}"):
        return cluster.client.get(Deployment, name, namespace=cluster.namespace)


def replica_sets(cluster: Cluster, deployment: Any) -> list[Any]:
    """Those of a Deployment, the oldest revision first."""
    with cluster.asked(f"looking at the versions of {deployment.metadata.name}"):
        found = cluster.client.list(
            ReplicaSet, namespace=cluster.namespace, labels=dict(labels.selector(deployment.metadata.name))
        )
        ours = [one for one in found if _is_owned(one, deployment)]
    return sorted(ours, key=revision)


def revision(one: Any) -> int:
    """The number that Kubernetes gave to a version."""
    text = (one.metadata.annotations or {}).get(pods.REVISION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _is_owned(one: Any, deployment: Any) -> bool:
    return any(owner.uid == deployment.metadata.uid for owner in one.metadata.ownerReferences or [])


def _standing(deployment: Any) -> tuple[str, bool]:
    """How far a rollout is, in a line, and whether it is done; as `kubectl rollout status` decides it."""
    wanted = 1 if deployment.spec.replicas is None else deployment.spec.replicas
    status = deployment.status
    if status is None or (status.observedGeneration or 0) < (deployment.metadata.generation or 0):
        return "the cluster takes it up", False
    updated, every, available = (status.updatedReplicas or 0, status.replicas or 0, status.availableReplicas or 0)
    done = updated >= wanted and every == updated and available >= updated
    leaving = f", {every - updated} of the version before still there" if every > updated else ""
    return f"{min(updated, available)} of {wanted} replicas serve{leaving}", done


def _give_up_on_faults(cluster: Cluster, deployment: Any, watched: _Watched, progress: Progress) -> None:
    """Raise for a fault that has been there for longer than it may be."""
    now = time.monotonic()
    seen = {}
    for text in _complaints(cluster, deployment):
        explained = faults.explain(text)
        if explained is None:
            continue
        name = explained.fault.name
        seen[name] = watched.since.get(name, now)
        if name not in watched.since:
            progress(explained.cause)
        if now - seen[name] >= explained.fault.patience:
            raise KeepError(explained.cause, hint=explained.fix)
    watched.since = seen
    _give_up_on_crashes(cluster, deployment)


def _complaints(cluster: Cluster, deployment: Any) -> Iterator[str]:
    """Everything that the cluster says about why the newest version does not come up."""
    for condition in (deployment.status.conditions if deployment.status else None) or []:
        if condition.type in ("ReplicaFailure", "Progressing") and condition.message:
            yield condition.message
    for pod in _newest(cluster, deployment):
        if not pods.is_ready(pod):
            yield from pods.complaints(pod)
            yield from pods.events(cluster, str(pod.metadata.name if pod.metadata else ""))


def _give_up_on_crashes(cluster: Cluster, deployment: Any) -> None:
    for pod in _newest(cluster, deployment):
        status = pods.status(pod, "", [])
        if status.restarts >= _CRASHES and not pods.is_ready(pod):
            said = next(iter(pods.complaints(pod)), "it ended without a word")
            raise KeepError(
                f"pod {status.id} has ended {status.restarts} times: {' '.join(said.split())[:400]}",
                hint=f"`enarx-deploy logs {status.id}` shows what it wrote",
            )


def _newest(cluster: Cluster, deployment: Any) -> list[Any]:
    """The pods of the newest version."""
    sets = replica_sets(cluster, deployment)
    if not sets:
        return []
    newest = (sets[-1].metadata.labels or {}).get(pods.HASH)
    found = pods.of_deployment(cluster, deployment.metadata.name)
    return [pod for pod in found if pod.metadata and (pod.metadata.labels or {}).get(pods.HASH) == newest]
