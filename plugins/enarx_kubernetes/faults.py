"""What a cluster says when a pod does not start, decoded: what it means, and what to do.

Texts are those of kubelet, scheduler, controllers, containerd, kata and admission, as they stand in events, in the
states of containers and in answers of the API. `{0}` and on stand for what was found in them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SHORTLY = 3.0
"""Seconds for what does not mend itself: only the next attempt may say it better."""
A_WHILE = 45.0
"""Seconds for what may mend itself: a registry that is down for a moment, a node that is being added."""


@dataclass(frozen=True)
class Fault:
    """One way of failing. `patience` is how long it may last before a deployment is given up."""

    name: str
    pattern: str
    cause: str
    fix: str
    patience: float = SHORTLY


FAULTS = (
    # What admission says comes first: it quotes others, such as what a registry or a certificate is refused for.
    Fault(
        "webhook-denied",
        r'admission webhook "([^"]+)" denied the request:? ?(.*)',
        "the cluster's admission webhook {0} refuses it: {1}",
        "that is a rule of the cluster: ask who runs it what it asks for",
    ),
    Fault(
        "webhook-unreachable",
        r'failed calling webhook "([^"]+)"',
        "the cluster's admission webhook {0} does not answer, and nothing is admitted without it",
        "have who runs the cluster look at it",
        A_WHILE,
    ),
    Fault(
        "admission-policy",
        r"ValidatingAdmissionPolicy '([^']+)'.* denied request: (.+)",
        "the cluster's policy {0} refuses it: {1}",
        "that is a rule of the cluster: ask who runs it",
    ),
    Fault(
        "no-runtime",
        r'no runtime for "([^"]+)" is configured',
        "the node's containerd knows no runtime {0!r}, which the pod's RuntimeClass names",
        "install it on every node that may run the pod (`kubectl get runtimeclass`, and the node's containerd "
        "configuration); kata-deploy installs kata-qemu-snp and kata-qemu-tdx",
    ),
    Fault(
        "runtime-handler-not-supported",
        r'RuntimeHandler "([^"]+)" not supported',
        "the node runs Docker's engine, which has no runtime classes, and the pod asks for {0!r}",
        "use nodes with containerd or CRI-O",
    ),
    Fault(
        "runtime-class-missing",
        r'(?:RuntimeClass(?:es)?(?:\.node\.k8s\.io)? |pod rejected: RuntimeClass )"([^"]+)" not found',
        "the cluster has no RuntimeClass {0!r}",
        "install what brings it (kata-deploy for kata-*), or name another: runtime_class in [deploy.NAME.kubernetes]",
    ),
    Fault(
        "wasm-artifact-as-image",
        r"mismatched image rootfs and manifest layers",
        "the image is a Wasm artifact, and the node's containerd is too old to unpack one",
        "deploy the image that `enarx-deploy` builds (leave `image` out), or use containerd 1.6.25, 1.7.7 or later",
    ),
    Fault(
        "no-command",
        r"no command specified",
        "the image says no command, as a Wasm artifact does not",
        "name an image of the Keep, built by `enarx-deploy`: leave `image` out of [deploy.NAME.kubernetes]",
    ),
    Fault(
        "cannot-handle-spec",
        r"can'?t handle spec",
        "the node's Wasm shim does not know the image's layers",
        "deploy the image that `enarx-deploy` builds, which needs no shim",
    ),
    Fault(
        "exec-format",
        r"[Ee]xec format error",
        "the image is of another architecture than the node",
        "build it on a machine like the nodes, or name a base image of their architecture",
    ),
    Fault(
        "executable-missing",
        r'exec: "?([^":]+)"?: (?:executable file not found|stat .*no such file or directory)',
        "the image has no program {0!r}",
        "is `base` an image with CPython, of the version that runs `enarx-deploy`?",
    ),
    Fault(
        "registry-denies",
        r"(?:pull access denied|unauthorized|authorization failed|401 Unauthorized|403 Forbidden)",
        "the node may not pull the image: the registry asks it for a login that it does not have",
        "give the namespace's default service account a pull secret: kubectl create secret docker-registry …",
        A_WHILE,
    ),
    Fault(
        "registry-speaks-http",
        r"server gave HTTP response to HTTPS client",
        "the registry speaks plain HTTP, and the node's containerd expects TLS",
        "give the registry a certificate, or name it as an insecure one in the nodes' containerd configuration",
        A_WHILE,
    ),
    Fault(
        "image-missing",
        r"(?:manifest unknown|(?:image|pull)[^\n]*: not found|ErrImageNeverPull)",
        "the registry has no such image, or the node sees another registry under that name",
        "is `repository` reached by the same name from the nodes as from here?",
        A_WHILE,
    ),
    Fault(
        "registry-unknown-authority",
        r"x509: certificate signed by unknown authority",
        "the node does not trust the registry's certificate",
        "add the registry's root to the nodes (containerd: certs.d/HOST/hosts.toml)",
        A_WHILE,
    ),
    Fault(
        "registry-unreachable",
        r"(?:pull|resolve|registry)[^\n]*(?:failed to do request|dial tcp|no such host|i/o timeout)",
        "the node cannot reach the registry",
        "is `repository` reached by the same name from the nodes as from here?",
        A_WHILE,
    ),
    Fault(
        "kata-pull-timeout",
        r"(?:CreateContainerRequest timed out|deadline exceeded.*CreateContainer|CreateContainer.*deadline exceeded)",
        "the guest did not have its image in time: it pulls the image itself, and that counts as its start",
        "raise kata's create_container_timeout and the kubelet's runtimeRequestTimeout, or use a smaller base image",
    ),
    Fault(
        "kata-policy",
        r"(?:is blocked by policy|PolicyDeny|rejected by policy)",
        "the policy in the guest refuses the pod as the node's containerd starts it",
        "the policy in the pod's init-data lets in what `enarx-deploy` rendered, with Kata Containers 3: did a webhook "
        "or a sidecar change the pod, or does another policy stand there?",
    ),
    Fault(
        "no-attester",
        r"no (snp|tdx) guest vouches for this Keep",
        "the pod is in no guest of kind {0} whose attester it can reach",
        "is its RuntimeClass that of {0} guests, and may its namespace mount /sys/kernel/config and run as root of the "
        "guest? What was looked for stands in the pod's termination message",
    ),
    Fault(
        "node-without-tee",
        r"(?:SEV-?SNP|TDX|sev-snp|tdx)[^\n]*(?:not (?:supported|available|enabled))|failed to initialize kvm",
        "the node cannot start a confidential guest",
        "keep such pods to nodes that can: nodeSelector of the RuntimeClass's scheduling",
    ),
    Fault(
        "security-forbids-root",
        r"container has runAsNonRoot and image (?:will run as root|has non-numeric user)",
        "the image wants to run as root, which the pod forbids",
        "name another base image",
    ),
    Fault(
        "forbidden-sysctl",
        r'forbidden sysctl: "?([a-z0-9_.]+)"?',
        "the node forbids {0}, without which a Keep that is not root cannot listen on a port below 1024",
        "listen on a higher port in the manifest; Kubernetes 1.22 and later allow this sysctl",
    ),
    Fault(
        "pod-security",
        r'violates PodSecurity "([^"]+)": (.+)',
        "the namespace's Pod Security admission ({0}) refuses the pod: {1}",
        "pods of the backend nil meet `restricted`: look at what else changes them, such as a mutating webhook; those "
        "of snp and tdx are root of their guest, and need a namespace that is allowed to have them",
    ),
    Fault(
        "pod-security-policy",
        r"unable to validate against any (?:pod security policy|security context constraint)",
        "the cluster's admission has no policy under which the pod is allowed",
        "ask who runs the cluster for one that allows pods without privileges (`restricted`)",
    ),
    Fault(
        "quota",
        r"exceeded quota: ([^,]+), (.+)",
        "the namespace's quota {0} is used up: {1}",
        "lower `memory` and `cpu` in [deploy.NAME.kubernetes] or [resources], or have the quota raised",
    ),
    Fault(
        "limit-range",
        r"(maximum|minimum) (memory|cpu) usage per (Container|Pod) is ([^,]+)",
        "the namespace's LimitRange: {0} {1} per {2} is {3}",
        "change [resources] memory and filesystem, or `memory` and `cpu` in [deploy.NAME.kubernetes]",
    ),
    Fault(
        "no-room",
        r"(?:nodes are available|node\(s\)).*Insufficient (cpu|memory)",
        "no node has enough {0} left",
        "lower `memory` and `cpu` in [deploy.NAME.kubernetes], or add nodes",
        A_WHILE,
    ),
    Fault(
        "no-node",
        r"nodes are available: .*(?:taint|node affinity|node selector|node\(s\) didn't match)",
        "no node may run the pod: taints, or the selector of its RuntimeClass, leave none",
        "is there a node for this RuntimeClass? kubectl get nodes --show-labels",
        A_WHILE,
    ),
    Fault(
        "no-nodes",
        r"no nodes available to schedule pods",
        "the cluster has no node",
        "add one",
        A_WHILE,
    ),
    Fault(
        "out-of-memory",
        r"OOMKilled",
        "the pod used more memory than its limit, which is [resources] memory and filesystem and 256 MiB",
        "raise [resources] memory; a workload that leaks only takes longer",
    ),
    Fault(
        "steward-root",
        r"has another root certificate now than when this Keep was started",
        "the Steward shows the pods another root than the one that they were given",
        "compare the roots by another way, then name the right one: steward_root in [deploy.NAME.kubernetes]",
    ),
    Fault(
        "steward-unreachable",
        r"(the Steward at [^ ]+) cannot be reached",
        "the pods cannot reach {0}",
        "does its name resolve in the cluster, and do network policies let pods out to it?",
        A_WHILE,
    ),
)
"""In this order: the first that fits counts."""


@dataclass(frozen=True)
class Explained:
    """What a text means: the fault, its cause and fix with what was found filled in."""

    fault: Fault
    cause: str
    fix: str


def explain(text: str) -> Explained | None:
    """What is known about a text; None where it is none of these."""
    for fault in FAULTS:
        if found := re.search(fault.pattern, text, re.DOTALL):
            groups = [one or "" for one in found.groups()]
            return Explained(fault, fault.cause.format(*map(_short, groups)), fault.fix)
    return None


def _short(text: str) -> str:
    """One line: some of these bring kilobytes of escaped JSON."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."
