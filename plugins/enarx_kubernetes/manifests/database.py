"""A PostgreSQL of one replica for a Steward's set, where it is asked for, as in clusters that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightkube.models.apps_v1 import StatefulSetSpec
from lightkube.models.core_v1 import (
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    PersistentVolumeClaimSpec,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    SecretKeySelector,
    SecretVolumeSource,
    ServicePort,
    ServiceSpec,
    TCPSocketAction,
    Volume,
    VolumeMount,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.networking_v1 import (
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import PersistentVolumeClaim, Service
from lightkube.resources.networking_v1 import NetworkPolicy

from enarx_kubernetes import labels, stewards
from enarx_kubernetes.manifests import hardening

if TYPE_CHECKING:
    from lightkube.core.resource import Resource

    from enarx_kubernetes.stewards import Wanted

NAME = "steward-postgresql"
TLS_SECRET = "steward-database-tls"  # noqa: S105 - its name
_PORT = 5432
_KIND = "postgresql"
_TLS = "/etc/postgresql/tls"
_DATA = "/var/lib/postgresql/data"


def objects(wanted: Wanted) -> list[Resource]:
    """None where the database is somebody else's."""
    if not wanted.database_image:
        return []
    return [_service(wanted), _network_policy(wanted), _stateful_set(wanted)]


def _metadata(wanted: Wanted) -> ObjectMeta:
    return ObjectMeta(name=NAME, namespace=wanted.namespace, labels=labels.labels(NAME, _KIND))


def _service(wanted: Wanted) -> Service:
    ports = [ServicePort(name="postgresql", port=_PORT, targetPort="postgresql", protocol="TCP")]
    spec = ServiceSpec(clusterIP="None", selector=labels.selector(NAME, _KIND), ports=ports)
    return Service(metadata=_metadata(wanted), spec=spec)


def _network_policy(wanted: Wanted) -> NetworkPolicy:
    """In: from Stewards. Out: nothing."""
    stewards_pods = LabelSelector(matchLabels=labels.selector(stewards.NAME, stewards.NAME))
    return NetworkPolicy(
        metadata=_metadata(wanted),
        spec=NetworkPolicySpec(
            podSelector=LabelSelector(matchLabels=labels.selector(NAME, _KIND)),
            policyTypes=["Ingress", "Egress"],
            ingress=[
                NetworkPolicyIngressRule(
                    from_=[NetworkPolicyPeer(podSelector=stewards_pods)],
                    ports=[NetworkPolicyPort(port=_PORT, protocol="TCP")],
                )
            ],
            egress=[],
        ),
    )


def _stateful_set(wanted: Wanted) -> StatefulSet:
    return StatefulSet(
        metadata=_metadata(wanted),
        spec=StatefulSetSpec(
            replicas=1,
            serviceName=NAME,
            selector=LabelSelector(matchLabels=labels.selector(NAME, _KIND)),
            template=PodTemplateSpec(metadata=ObjectMeta(labels=labels.labels(NAME, _KIND)), spec=_pod(wanted)),
            volumeClaimTemplates=[
                PersistentVolumeClaim(
                    metadata=ObjectMeta(name="data"),
                    spec=PersistentVolumeClaimSpec(
                        accessModes=["ReadWriteOnce"],
                        resources=VolumeResourceRequirements(requests={"storage": "8Gi"}),
                    ),
                )
            ],
        ),
    )


def _pod(wanted: Wanted) -> PodSpec:
    return PodSpec(
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        securityContext=hardening.of_pod(),
        containers=[_container(wanted)],
        volumes=[
            # The key of TLS may be root's and readable by the group, which is what PostgreSQL takes from others.
            Volume(name="tls", secret=SecretVolumeSource(secretName=TLS_SECRET, defaultMode=0o440)),
            Volume(name="run", emptyDir=EmptyDirVolumeSource()),
            Volume(name="tmp", emptyDir=EmptyDirVolumeSource()),
        ],
    )


def _container(wanted: Wanted) -> Container:
    ready = Probe(tcpSocket=TCPSocketAction(port="postgresql"), periodSeconds=5, timeoutSeconds=5, failureThreshold=6)
    password = SecretKeySelector(name=stewards.DATABASE_SECRET, key="password")
    return Container(
        name=_KIND,
        image=wanted.database_image,
        args=["-c", "ssl=on", "-c", f"ssl_cert_file={_TLS}/tls.crt", "-c", f"ssl_key_file={_TLS}/tls.key"],
        env=[
            EnvVar(name="PGDATA", value=f"{_DATA}/cluster"),
            EnvVar(name="POSTGRES_DB", value="steward"),
            EnvVar(name="POSTGRES_USER", value="steward"),
            EnvVar(name="POSTGRES_PASSWORD", valueFrom=EnvVarSource(secretKeyRef=password)),
        ],
        ports=[ContainerPort(name="postgresql", containerPort=_PORT, protocol="TCP")],
        resources=ResourceRequirements(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"}),
        securityContext=hardening.of_container(),
        readinessProbe=ready,
        volumeMounts=[
            VolumeMount(name="data", mountPath=_DATA),
            VolumeMount(name="tls", mountPath=_TLS, readOnly=True),
            VolumeMount(name="run", mountPath="/var/run/postgresql"),
            VolumeMount(name="tmp", mountPath="/tmp"),  # noqa: S108 - the pod's own
        ],
    )
