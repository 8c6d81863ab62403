"""What no pod of ours may do, as the Pod Security Standard `restricted` has it, and more."""

from __future__ import annotations

from lightkube.models.core_v1 import (
    Capabilities,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    Sysctl,
)

USER = 65532
"""Who a pod's processes are: nobody on any node."""

_UNPRIVILEGED_PORTS = Sysctl(name="net.ipv4.ip_unprivileged_port_start", value="0")
"""Lets a pod without privileges listen on its own port 443; a safe sysctl since Kubernetes 1.22."""


def of_pod(*, privileged_ports: bool = False, user: int = USER) -> PodSecurityContext:
    """Not root, its volumes its own, and the runtime's filter of system calls.

    With `user` 0 it is root of a guest, without capabilities: attributes of configfs-tsm are root's.
    """
    return PodSecurityContext(
        runAsNonRoot=user != 0,
        runAsUser=user,
        runAsGroup=user,
        fsGroup=user,
        fsGroupChangePolicy="OnRootMismatch",
        seccompProfile=SeccompProfile(type="RuntimeDefault"),
        sysctls=[_UNPRIVILEGED_PORTS] if privileged_ports else None,
    )


def of_container() -> SecurityContext:
    """Nothing to write to but volumes, no capability, no way to get one."""
    return SecurityContext(
        allowPrivilegeEscalation=False,
        privileged=False,
        readOnlyRootFilesystem=True,
        capabilities=Capabilities(drop=["ALL"]),
    )
