"""The pods of a deployment, and what each of them is in this program's words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from lightkube.resources.core_v1 import Event, Pod

from enarx_deploy.models import Endpoint, KeepStatus
from enarx_kubernetes import faults, labels
from enarx_kubernetes.manifests.pod import CONTAINER

if TYPE_CHECKING:
    from enarx_kubernetes.cluster import Cluster

State = Literal["starting", "running", "stopping", "exited", "failed"]
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"

_FAILING = (
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)
"""Why a container waits, where that is a fault."""

_FORWARD = ("Scheduled", "Pulled", "Created", "Started")
"""Events after which an earlier warning tells nothing any more."""


def of_deployment(cluster: Cluster, name: str) -> list[Pod]:
    """Its pods, oldest first."""
    with cluster.asked("listing pods"):
        found = list(cluster.client.list(Pod, namespace=cluster.namespace, labels=_selector(name)))
    return sorted(found, key=lambda pod: (str(_metadata(pod).creationTimestamp), _metadata(pod).name))


def status(pod: Pod, keep: str, endpoints: list[Endpoint], version: int = 0) -> KeepStatus:
    """One pod as a Keep. Its id is the pod's name."""
    metadata = _metadata(pod)
    annotations = metadata.annotations or {}
    state, reason = _state(pod)
    container = _container(pod)
    return KeepStatus(
        id=metadata.name or "",
        name=keep,
        state=state,
        backend=annotations.get(labels.BACKEND, ""),
        target="kubernetes",
        package=annotations.get(labels.PACKAGE, ""),
        endpoints=endpoints,
        created=rfc3339(metadata.creationTimestamp),
        reason=reason,
        version=version,
        restarts=container.restartCount if container else 0,
    )


def is_ready(pod: Pod) -> bool:
    """Whether it serves, and is not about to end."""
    if _metadata(pod).deletionTimestamp or pod.status is None:
        return False
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])


def complaints(pod: Pod) -> list[str]:
    """What stands in the pod's own status about why it does not start."""
    said = [one.message or "" for one in (pod.status.conditions or [] if pod.status else []) if one.status == "False"]
    container = _container(pod)
    if container and container.state:
        waiting, ended = container.state.waiting, container.state.terminated
        if waiting and waiting.reason in _FAILING:
            said.insert(0, f"{waiting.reason}: {waiting.message or ''}")
        if ended:
            said.insert(0, f"{ended.reason or 'ended'}: {ended.message or f'exit status {ended.exitCode}'}")
    if container and container.lastState and (last := container.lastState.terminated):
        said.insert(0, f"{last.reason or 'ended'}: {last.message or f'exit status {last.exitCode}'}")
    return [one for one in said if one and not one.startswith("containers with unready status")]


def events(cluster: Cluster, name: str) -> list[str]:
    """The warnings about one object since it last came a step forward, the newest last."""
    with cluster.asked("reading events"):
        found = list(cluster.client.list(Event, namespace=cluster.namespace, fields={"involvedObject.name": name}))
    warnings: list[str] = []
    for one in sorted(found, key=_revision):
        if one.reason in _FORWARD:
            warnings.clear()
        elif one.type == "Warning" and one.reason != "Unhealthy":
            warnings.append(f"{one.reason}: {one.message or ''}")
    return warnings


def _revision(event: Event) -> int:
    """Their order: an event that is seen again is written again, and its times have seconds alone."""
    text = (event.metadata.resourceVersion if event.metadata else "") or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def rfc3339(moment: Any) -> str:
    """A time as the API gives it."""
    if isinstance(moment, datetime):
        return moment.isoformat().replace("+00:00", "Z")
    return str(moment or "")


def _state(pod: Pod) -> tuple[State, str]:
    if _metadata(pod).deletionTimestamp:
        return "stopping", ""
    phase = pod.status.phase if pod.status else ""
    if is_ready(pod):
        return "running", ""
    said = complaints(pod)
    container = _container(pod)
    waiting = container.state.waiting if container and container.state else None
    if phase == "Failed" or (waiting and waiting.reason in _FAILING):
        return "failed", _in_words(said)
    if phase == "Succeeded":
        return "exited", ""
    return "starting", _in_words(said) if phase == "Pending" else ""


def _in_words(said: list[str]) -> str:
    for text in said:
        if explained := faults.explain(text):
            return explained.cause
    return " ".join(said[0].split())[:300] if said else ""


def _container(pod: Pod) -> Any:
    found: Iterator[Any] = iter(pod.status.containerStatuses or [] if pod.status else [])
    return next((one for one in found if one.name == CONTAINER), None)


def _metadata(pod: Pod) -> Any:
    return pod.metadata


def _selector(name: str) -> Any:
    return labels.selector(name)
