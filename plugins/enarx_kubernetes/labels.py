"""Labels and annotations: Kubernetes' recommended ones, and this program's own."""

from __future__ import annotations

MANAGER = "enarx-deploy"
"""The field manager of what is applied, and who is said to manage it."""

MANAGED_BY = "app.kubernetes.io/managed-by"
"""Label: whose an object is."""
PACKAGE = "enarx-deploy.dev/package"
"""Annotation: the package's digest."""
BACKEND = "enarx-deploy.dev/backend"
"""Annotation: the backend's name."""
ENDPOINTS = "enarx-deploy.dev/endpoints"
"""Annotation of a Service: in JSON, for each of its ports the socket's name and what is spoken there."""
METRICS_PORT = "enarx-deploy.dev/metrics-port"
"""Annotation of a pod: where it serves metrics."""
INIT_DATA_DIGEST = "enarx-deploy.dev/init-data-sha256"
"""Annotation: what HOST_DATA or MRCONFIGID of such a pod must be."""


def selector(name: str, kind: str = "keep") -> dict[str, str]:
    """What pods of one deployment have, and no others. It cannot be changed once it is applied."""
    return {"app.kubernetes.io/name": f"enarx-{kind}", "app.kubernetes.io/instance": name}


def labels(name: str, kind: str = "keep") -> dict[str, str]:
    """What every object of one deployment has."""
    return {**selector(name, kind), MANAGED_BY: MANAGER}
