"""The pod of a Keep: one container, no token of the cluster, memory and a root to hold the Steward to."""

from __future__ import annotations

import hashlib

from lightkube.models.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    ExecAction,
    HostPathVolumeSource,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta

from enarx_kubernetes import agent_policy, init_data, labels, runtime_class
from enarx_kubernetes.desired import Desired
from enarx_kubernetes.image import image, runtime
from enarx_kubernetes.manifests import hardening
from enarx_kubernetes.manifests.config_map import STEWARD_ROOT
from enarx_kubernetes.manifests.metadata import pods

CONTAINER = "keep"
GRACE = 30
"""Seconds that a pod has to end: connections are drained in them."""

CONFIGURATION = "/etc/enarx"
_WORK = "/run/enarx"
_TEMPORARY = "/tmp"  # noqa: S108 - the pod's own
_PROBE = ("python3", "-I", runtime.SERVING)
_MEBIBYTE = 1 << 20


def template(desired: Desired) -> PodTemplateSpec:
    """The pods of a deployment. What says nothing new of them is left to the cluster's defaults."""
    return PodTemplateSpec(
        metadata=ObjectMeta(
            labels={**labels.selector(desired.name), "app.kubernetes.io/managed-by": labels.MANAGER},
            annotations=_annotations(desired),
        ),
        spec=_spec(desired),
    )


def _annotations(desired: Desired) -> dict[str, str]:
    said = {labels.PACKAGE: desired.package, labels.BACKEND: desired.backend}
    if desired.metrics_port:
        said[labels.METRICS_PORT] = str(desired.metrics_port)
    if is_guest(desired):
        toml = guest_data(desired)
        said |= {init_data.ANNOTATION: init_data.annotation(toml), labels.INIT_DATA_DIGEST: init_data.digest(toml)}
    return said


def is_guest(desired: Desired) -> bool:
    """Whether its pods are guests whose memory a CPU protects."""
    return runtime_class.for_backend(desired.backend, desired.settings.runtime_class).confidential


def guest_data(desired: Desired) -> str:
    """The init-data of its pods."""
    policy = agent_policy.text(
        desired.image,
        (*image.KEEP, *_arguments(desired)),
        image.ENVIRONMENT,
        _PROBE,
        (_WORK, _TEMPORARY),
        CONFIGURATION,
    )
    return init_data.text(desired.package, desired.steward, desired.steward_root, policy)


def _spec(desired: Desired) -> PodSpec:
    return PodSpec(
        runtimeClassName=runtime_class.for_backend(desired.backend, desired.settings.runtime_class).name or None,
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        securityContext=hardening.of_pod(
            privileged_ports=any(port.privileged for port in desired.ports),
            user=0 if _is_attested(desired) else hardening.USER,
        ),
        terminationGracePeriodSeconds=GRACE,
        topologySpreadConstraints=[
            TopologySpreadConstraint(
                maxSkew=1,
                topologyKey="kubernetes.io/hostname",
                whenUnsatisfiable="ScheduleAnyway",
                labelSelector=pods(desired),
            )
        ],
        containers=[_container(desired)],
        volumes=_volumes(desired),
    )


def _volumes(desired: Desired) -> list[Volume]:
    made = [
        Volume(name="work", emptyDir=EmptyDirVolumeSource(medium="Memory", sizeLimit="128Mi")),
        Volume(name="tmp", emptyDir=EmptyDirVolumeSource(medium=_medium(desired), sizeLimit="64Mi")),
        Volume(name="configuration", configMap=ConfigMapVolumeSource(name=desired.configuration)),
    ]
    if _is_attested(desired):
        # Below /sys it is the guest's own that Kata mounts, and not the node's.
        made.append(Volume(name="attester", hostPath=HostPathVolumeSource(path=agent_policy.CONFIGFS)))
    return made


def _medium(desired: Desired) -> str | None:
    """Where files without a secret are: on a disk of the node only where the node sees the Keep anyway."""
    return "Memory" if is_guest(desired) else None


def _is_attested(desired: Desired) -> bool:
    return desired.backend in runtime_class.ATTESTED


def _mounts(desired: Desired) -> list[VolumeMount]:
    made = [
        VolumeMount(name="work", mountPath=_WORK),
        VolumeMount(name="tmp", mountPath=_TEMPORARY),
        VolumeMount(name="configuration", mountPath=CONFIGURATION, readOnly=True),
    ]
    if _is_attested(desired):
        made.append(VolumeMount(name="attester", mountPath=agent_policy.CONFIGFS))
    return made


def _container(desired: Desired) -> Container:
    return Container(
        name=CONTAINER,
        image=desired.image,
        imagePullPolicy="IfNotPresent",
        args=_arguments(desired),
        ports=[ContainerPort(name=port.name, containerPort=port.number, protocol="TCP") for port in desired.ports],
        resources=ResourceRequirements(
            requests={"cpu": desired.settings.cpu, "memory": desired.settings.memory},
            limits={"memory": f"{-(-desired.memory_limit // _MEBIBYTE)}Mi"},
        ),
        securityContext=hardening.of_container(),
        startupProbe=_probe(period=2, failures=60),
        readinessProbe=_probe(period=5, failures=2),
        volumeMounts=_mounts(desired),
    )


def _arguments(desired: Desired) -> list[str]:
    words = ["--package", desired.package, "--backend", desired.backend]
    if desired.steward_root:
        words += ["--steward-root", f"{CONFIGURATION}/{STEWARD_ROOT}"]
    if desired.steward_root and is_guest(desired):
        words += ["--steward-root-digest", f"sha256:{hashlib.sha256(desired.steward_root.encode()).hexdigest()}"]
    if desired.metrics_port:
        words += ["--metrics-port", str(desired.metrics_port)]
    return words


def _probe(*, period: int, failures: int) -> Probe:
    """Whether the Keep serves with a valid certificate, as its host process wrote down: no port is open for it."""
    return Probe(
        exec=ExecAction(command=list(_PROBE)), periodSeconds=period, timeoutSeconds=5, failureThreshold=failures
    )
