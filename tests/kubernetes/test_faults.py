"""What clusters say, as it was recorded, decoded. Those of them that can be caused here are caused in "
"`test_cluster`."""

from __future__ import annotations

import pytest

from enarx_kubernetes import faults

# Texts of events, container states and API answers: fault -> what was said.
RECORDED = {
    "no-runtime": "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = "
    "failed to get "
    'sandbox runtime: no runtime for "kata-qemu-snp" is configured',
    "runtime-handler-not-supported": "FailedCreatePodSandBox: rpc error: code = InvalidArgument desc = RuntimeHandler "
    '"spin" not supported',
    "runtime-class-missing": 'pods "echo-" is forbidden: pod rejected: RuntimeClass "kata-qemu-tdx" not found',
    "wasm-artifact-as-image": 'Failed to pull image "registry.example/echo:1.0.0": rpc error: code = Unknown desc = '
    "failed to pull and unpack image: mismatched image rootfs and manifest layers",
    "no-command": "RunContainerError: failed to generate container spec: no command specified",
    "cannot-handle-spec": "RunContainerError: failed to create shim task: executor can't handle spec",
    "exec-format": "Error: failed to create containerd task: OCI runtime create failed: exec /usr/bin/python3: exec "
    "format error",
    "executable-missing": "StartError: failed to create containerd task: OCI runtime create failed: "
    "container_linux.go: "
    'starting container process caused: exec: "python3": executable file not found in $PATH: unknown',
    "registry-denies": "ErrImagePull: pull access denied, repository does not exist or may require authorization: "
    "server message: insufficient_scope: authorization failed",
    "registry-speaks-http": 'ErrImagePull: failed to resolve reference "10.0.0.5:5000/echo": failed to do '
    "request: Head "
    '"https://10.0.0.5:5000/v2/echo/manifests/x": http: server gave HTTP response to HTTPS client',
    "image-missing": "ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "
    '"registry.example/echo@sha256:aa": registry.example/echo@sha256:aa: not found',
    "registry-unknown-authority": 'ErrImagePull: failed to pull image: Head "https://registry.example/v2/": x509: '
    "certificate signed by unknown authority",
    "registry-unreachable": 'ErrImagePull: failed to pull image "registry.example/echo": failed to resolve reference: '
    "dial tcp: lookup registry.example: no such host",
    "kata-pull-timeout": "FailedCreatePodSandBox: CreateContainerRequest timed out: context deadline exceeded",
    "kata-policy": "CreateContainerError: rpc status: Status { code: PERMISSION_DENIED, message: "
    '"\\"CreateContainerRequest is blocked by policy: [\\\\\\"x\\\\\\"]\\"" }',
    "no-attester": "no snp guest vouches for this Keep, and without its evidence it does not start; looked for: "
    "configfs-tsm: /sys/kernel/config/tsm/report: configfs is not mounted, or the kernel has no tsm in it",
    "node-without-tee": "FailedCreatePodSandBox: failed to launch qemu: SEV-SNP is not supported by this host",
    "security-forbids-root": "CreateContainerConfigError: container has runAsNonRoot and image will run as root",
    "forbidden-sysctl": 'SysctlForbidden: forbidden sysctl: "net.ipv4.ip_unprivileged_port_start" not allowlisted',
    "pod-security": 'pods "echo-x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities',
    "pod-security-policy": 'pods "echo-" is forbidden: PodSecurityPolicy: unable to validate against any pod security '
    "policy: []",
    "quota": 'pods "echo-x" is forbidden: exceeded quota: small, requested: requests.memory=256Mi, used: '
    "requests.memory=0, limited: requests.memory=64Mi",
    "limit-range": 'pods "echo-x" is forbidden: maximum memory usage per Container is 64Mi, but limit is 832Mi',
    "webhook-denied": 'admission webhook "validate.kyverno.svc-fail" denied the request: resource Deployment/shop/echo '
    "was blocked due to the following policies",
    "webhook-unreachable": 'Internal error occurred: failed calling webhook "policy.example.org": Post '
    '"https://x": EOF',
    "admission-policy": "deployments.apps \"echo\" is forbidden: ValidatingAdmissionPolicy 'no-latest' with "
    "binding 'all' "
    "denied request: image must not be latest",
    "no-room": "FailedScheduling: 0/3 nodes are available: 3 Insufficient memory.",
    "no-node": "FailedScheduling: 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
    "no-nodes": "FailedScheduling: no nodes available to schedule pods",
    "out-of-memory": "OOMKilled: exit status 137",
    "steward-root": "steward has another root certificate now than when this Keep was started",
    "steward-unreachable": "the Steward at https://steward.example.org cannot be reached: timed out",
}


@pytest.mark.parametrize("fault", [fault.name for fault in faults.FAULTS])
def test_every_fault_of_the_table_is_told_from_the_others_by_its_text(fault):
    explained = faults.explain(RECORDED[fault])
    assert explained is not None
    assert explained.fault.name == fault
    assert "{" not in explained.cause
    assert explained.fix


# As users quote them in threads, without what stands around them.
IN_USERS_WORDS = {
    'no runtime for "spin" is configured': "no-runtime",
    'RuntimeHandler "spin" not supported': "runtime-handler-not-supported",
    "mismatched image rootfs and manifest layers": "wasm-artifact-as-image",
    "Exec format error": "exec-format",
    "executor can't handle spec": "cannot-handle-spec",
    "can't handle spec": "cannot-handle-spec",
    "no command specified": "no-command",
    "PolicyDeny": "kata-policy",
    "CreateContainerRequest is blocked by policy": "kata-policy",
    "CreateContainer: context deadline exceeded": "kata-pull-timeout",
    'admission webhook "x" denied the request': "webhook-denied",
    'admission webhook "x" denied the request: unauthorized image': "webhook-denied",
    'failed calling webhook "x": Post "https://x.svc:443": x509: certificate signed by unknown authority': (
        "webhook-unreachable"
    ),
    'failed calling webhook "x": Post "https://x": dial tcp: i/o timeout': "webhook-unreachable",
    "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no command specified": "admission-policy",
}


@pytest.mark.parametrize("said", IN_USERS_WORDS)
def test_what_users_ask_about_is_decoded(said):
    explained = faults.explain(said)
    assert explained is not None
    assert explained.fault.name == IN_USERS_WORDS[said]


def test_a_denial_of_the_guests_policy_becomes_one_line():
    escaped = '[\\\\\\"allow_create_container: denied\\\\\\"] ' * 2000
    explained = faults.explain(f'message: "\\"CreateContainerRequest is blocked by policy: {escaped}')
    assert explained is not None
    assert explained.fault.name == "kata-policy"
    assert len(explained.cause) < 500


def test_what_was_found_stands_in_the_cause():
    explained = faults.explain(RECORDED["no-runtime"])
    assert explained is not None
    assert "'kata-qemu-snp'" in explained.cause


def test_kilobytes_of_a_denial_become_one_line():
    explained = faults.explain('admission webhook "p" denied the request: ' + "\\n escaped " * 4000)
    assert explained is not None
    assert len(explained.cause) < 500
    assert "\n" not in explained.cause


@pytest.mark.parametrize("text", ["", "Scheduled: assigned shop/echo to node-1", "Pulled: image is present"])
def test_what_is_no_fault_is_none_of_the_table(text):
    assert faults.explain(text) is None


def test_braces_in_what_a_cluster_says_are_no_fields():
    explained = faults.explain('admission webhook "{0.__class__}" denied the request: {1} {x}')
    assert explained is not None
    assert "{0.__class__}" in explained.cause
