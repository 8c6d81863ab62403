"""The NetworkPolicy: in to what the manifest listens on, out to what it grants and to the Steward."""

from __future__ import annotations

from lightkube.models.networking_v1 import (
    IPBlock,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from lightkube.resources.networking_v1 import NetworkPolicy

from enarx_kubernetes.desired import Desired, Destination
from enarx_kubernetes.manifests.metadata import metadata, pods

_DNS = [NetworkPolicyPort(port=53, protocol="UDP"), NetworkPolicyPort(port=53, protocol="TCP")]


def network_policy(desired: Desired) -> NetworkPolicy:
    """A destination that is a name is let through by its port: a policy of Kubernetes knows addresses alone."""
    numbers = [*(port.number for port in desired.ports), *([desired.metrics_port] if desired.metrics_port else [])]
    listens = [NetworkPolicyPort(port=number, protocol="TCP") for number in numbers]
    names = any(not destination.cidr for destination in desired.destinations)
    return NetworkPolicy(
        metadata=metadata(desired),
        spec=NetworkPolicySpec(
            podSelector=pods(desired),
            policyTypes=["Ingress", "Egress"],
            ingress=[NetworkPolicyIngressRule(ports=listens)] if listens else [],
            egress=[
                *([NetworkPolicyEgressRule(ports=_DNS)] if names else []),
                *(_rule(destination) for destination in desired.destinations),
            ],
        ),
    )


def _rule(destination: Destination) -> NetworkPolicyEgressRule:
    ports = [NetworkPolicyPort(port=destination.port, protocol="TCP")]
    if not destination.cidr:
        return NetworkPolicyEgressRule(ports=ports)
    return NetworkPolicyEgressRule(ports=ports, to=[NetworkPolicyPeer(ipBlock=IPBlock(cidr=destination.cidr))])
