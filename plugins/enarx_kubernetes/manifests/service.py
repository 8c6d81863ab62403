"""The Service: one address for all replicas. TLS passes through it to the Keep."""

from __future__ import annotations

import json

from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.resources.core_v1 import Service

from enarx_kubernetes import labels
from enarx_kubernetes.desired import Desired
from enarx_kubernetes.manifests.metadata import metadata


def service(desired: Desired) -> Service | None:
    """None for a workload that listens on nothing."""
    if not desired.ports:
        return None
    made = metadata(desired)
    made.annotations = {labels.ENDPOINTS: json.dumps({port.name: [port.socket, port.prot] for port in desired.ports})}
    return Service(
        metadata=made,
        spec=ServiceSpec(
            type=desired.settings.service,
            selector=labels.selector(desired.name),
            ports=[
                ServicePort(name=port.name, port=port.number, targetPort=port.name, protocol="TCP")
                for port in desired.ports
            ],
        ),
    )
