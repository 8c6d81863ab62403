"""The ConfigMap: the Steward's root, which the Keeps hold the Steward to. It has no secret, and never changes."""

from __future__ import annotations

from lightkube.resources.core_v1 import ConfigMap

from enarx_kubernetes.desired import Desired
from enarx_kubernetes.manifests.metadata import metadata

STEWARD_ROOT = "steward-root.pem"


def config_map(desired: Desired) -> ConfigMap:
    """Its name has its content's digest, so that going back to an earlier version finds what that one had."""
    data = {"package": desired.package, "backend": desired.backend}
    if desired.steward_root:
        data[STEWARD_ROOT] = desired.steward_root
    return ConfigMap(metadata=metadata(desired, desired.configuration), immutable=True, data=data)
