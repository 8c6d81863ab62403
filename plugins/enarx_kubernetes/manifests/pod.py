"""The pod of a Keep: one container, no token of the cluster, memory and a root to hold the Steward to."""

from __future__ import annotations

from lightkube.models.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    ExecAction,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta

from enarx_kubernetes import init_data, labels, runtime_class
from enarx_kubernetes.desired import Desired
from enarx_kubernetes.image import runtime
from enarx_kubernetes.manifests import hardening
from enarx_kubernetes.manifests.config_map import STEWARD_ROOT
from enarx_kubernetes.manifests.metadata import pods

CONTAINER = "keep"
GRACE = 30
"""Seconds that a pod has to end: connections are drained in them."""

CONFIGURATION = "/etc/enarx"
_WORK = "/run/enarx"
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
    if runtime_class.for_backend(desired.backend, desired.settings.runtime_class).confidential:
        toml = init_data.text(desired.package, desired.steward, desired.steward_root)
        said |= {init_data.ANNOTATION: init_data.annotation(toml), labels.INIT_DATA_DIGEST: init_data.digest(toml)}
    return said


def _spec(desired: Desired) -> PodSpec:
    return PodSpec(
        runtimeClassName=runtime_class.for_backend(desired.backend, desired.settings.runtime_class).name or None,
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        securityContext=hardening.of_pod(privileged_ports=any(port.privileged for port in desired.ports)),
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
        volumes=[
            Volume(name="work", emptyDir=EmptyDirVolumeSource(medium="Memory", sizeLimit="128Mi")),
            Volume(name="tmp", emptyDir=EmptyDirVolumeSource(sizeLimit="64Mi")),
            Volume(name="configuration", configMap=ConfigMapVolumeSource(name=desired.configuration)),
        ],
    )


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
        volumeMounts=[
            VolumeMount(name="work", mountPath=_WORK),
            VolumeMount(name="tmp", mountPath="/tmp"),  # noqa: S108 - the pod's own
            VolumeMount(name="configuration", mountPath=CONFIGURATION, readOnly=True),
        ],
    )


def _arguments(desired: Desired) -> list[str]:
    root = ["--steward-root", f"{CONFIGURATION}/{STEWARD_ROOT}"] if desired.steward_root else []
    return ["--package", desired.package, "--backend", desired.backend, *root]


def _probe(*, period: int, failures: int) -> Probe:
    """Whether the Keep serves with a valid certificate, as its host process wrote down: no port is open for it."""
    command = ["python3", "-I", runtime.SERVING]
    return Probe(exec=ExecAction(command=command), periodSeconds=period, timeoutSeconds=5, failureThreshold=failures)
