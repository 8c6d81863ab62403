"""The objects of a Steward's set; PostgreSQL's are in `database`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightkube.models.apps_v1 import DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment
from lightkube.models.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    SecretKeySelector,
    SecretVolumeSource,
    ServicePort,
    ServiceSpec,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.networking_v1 import (
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Service
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.resources.policy_v1 import PodDisruptionBudget

from enarx_kubernetes import labels, stewards
from enarx_kubernetes.image import runtime
from enarx_kubernetes.manifests import database, hardening

if TYPE_CHECKING:
    from lightkube.core.resource import Resource

    from enarx_kubernetes.stewards import Wanted

_MOUNTED = "/etc/enarx"
_POSTGRESQL, _HTTPS, _DNS = 5432, 443, 53


def objects(wanted: Wanted) -> list[Resource]:
    """Namespace, configuration, service, rules, the database if it was asked for, and the Steward."""
    return [
        Namespace(
            metadata=ObjectMeta(name=wanted.namespace, labels={"pod-security.kubernetes.io/enforce": "restricted"})
        ),
        _configuration(wanted),
        _service(wanted),
        _network_policy(wanted),
        _disruption_budget(wanted),
        *database.objects(wanted),
        _deployment(wanted),
    ]


def _metadata(wanted: Wanted, name: str = stewards.NAME) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=wanted.namespace, labels=labels.labels(stewards.NAME, stewards.NAME))


def _pods() -> LabelSelector:
    return LabelSelector(matchLabels=labels.selector(stewards.NAME, stewards.NAME))


def _configuration_name(wanted: Wanted) -> str:
    return f"{stewards.NAME}-{stewards.digest(wanted.configuration)}"


def _configuration(wanted: Wanted) -> ConfigMap:
    return ConfigMap(metadata=_metadata(wanted, _configuration_name(wanted)), immutable=True, data=wanted.configuration)


def _service(wanted: Wanted) -> Service:
    ports = [ServicePort(name="https", port=_HTTPS, targetPort="https", protocol="TCP")]
    spec = ServiceSpec(type="ClusterIP", selector=labels.selector(stewards.NAME, stewards.NAME), ports=ports)
    return Service(metadata=_metadata(wanted), spec=spec)


def _network_policy(wanted: Wanted) -> NetworkPolicy:
    """In: HTTPS. Out: the database, names, and the vendors' services for collateral."""
    out = [(_DNS, "UDP"), (_DNS, "TCP"), (_POSTGRESQL, "TCP"), (_HTTPS, "TCP")]
    return NetworkPolicy(
        metadata=_metadata(wanted),
        spec=NetworkPolicySpec(
            podSelector=_pods(),
            policyTypes=["Ingress", "Egress"],
            ingress=[NetworkPolicyIngressRule(ports=[NetworkPolicyPort(port=stewards.PORT, protocol="TCP")])],
            egress=[NetworkPolicyEgressRule(ports=[NetworkPolicyPort(port=port, protocol=kind) for port, kind in out])],
        ),
    )


def _disruption_budget(wanted: Wanted) -> PodDisruptionBudget:
    return PodDisruptionBudget(
        metadata=_metadata(wanted), spec=PodDisruptionBudgetSpec(maxUnavailable=1, selector=_pods())
    )


def _deployment(wanted: Wanted) -> Deployment:
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels=labels.labels(stewards.NAME, stewards.NAME)),
        spec=PodSpec(
            automountServiceAccountToken=False,
            enableServiceLinks=False,
            securityContext=hardening.of_pod(),
            initContainers=[_layout(wanted)],
            containers=[_steward(wanted)],
            volumes=[
                Volume(name="state", emptyDir=EmptyDirVolumeSource(medium="Memory", sizeLimit="64Mi")),
                Volume(name="configuration", configMap=ConfigMapVolumeSource(name=_configuration_name(wanted))),
                Volume(name="ca", secret=SecretVolumeSource(secretName=_key_secret(wanted))),
                Volume(name="database", secret=SecretVolumeSource(secretName=stewards.DATABASE_SECRET)),
                Volume(name="tmp", emptyDir=EmptyDirVolumeSource(sizeLimit="64Mi")),
            ],
        ),
    )
    return Deployment(
        metadata=_metadata(wanted),
        spec=DeploymentSpec(
            replicas=wanted.replicas,
            selector=_pods(),
            strategy=DeploymentStrategy(
                type="RollingUpdate", rollingUpdate=RollingUpdateDeployment(maxSurge=1, maxUnavailable=0)
            ),
            template=template,
        ),
    )


def _key_secret(wanted: Wanted) -> str:
    return stewards.PIN_SECRET if wanted.pkcs11 else stewards.CA_SECRET


def _layout(wanted: Wanted) -> Container:
    """A container that makes the state directory: its files belong to the Steward alone."""
    mounts = [f"{_MOUNTED}/{name}" for name in ("configuration", "ca", "database")]
    return Container(
        name="state",
        image=wanted.image,
        command=["python3", "-I", runtime.STEWARD_STATE, *mounts, stewards.STATE],
        resources=_resources(),
        securityContext=hardening.of_container(),
        volumeMounts=[
            *_state(),
            *(VolumeMount(name=one.rpartition("/")[2], mountPath=one, readOnly=True) for one in mounts),
        ],
    )


def _steward(wanted: Wanted) -> Container:
    return Container(
        name=stewards.NAME,
        image=wanted.image,
        args=["--state", stewards.STATE, "--listen", f"0.0.0.0:{stewards.PORT}"],
        env=[_from_secret("ENARX_DEPLOY_STEWARD_DATABASE", "url"), _from_secret("PGPASSWORD", "password")],
        ports=[ContainerPort(name="https", containerPort=stewards.PORT, protocol="TCP")],
        resources=_resources(),
        securityContext=hardening.of_container(),
        startupProbe=_probe(period=2, failures=30),
        readinessProbe=_probe(period=5, failures=2),
        volumeMounts=_state(),
    )


def _state() -> list[VolumeMount]:
    return [VolumeMount(name="state", mountPath="/run/enarx"), VolumeMount(name="tmp", mountPath="/tmp")]  # noqa: S108 — in the container


def _from_secret(variable: str, key: str) -> EnvVar:
    chosen = SecretKeySelector(name=stewards.DATABASE_SECRET, key=key)
    return EnvVar(name=variable, valueFrom=EnvVarSource(secretKeyRef=chosen))


def _resources() -> ResourceRequirements:
    return ResourceRequirements(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "512Mi"})


def _probe(*, period: int, failures: int) -> Probe:
    return Probe(
        httpGet=HTTPGetAction(path="/v1/health", port="https", scheme="HTTPS"),
        periodSeconds=period,
        timeoutSeconds=5,
        failureThreshold=failures,
    )
