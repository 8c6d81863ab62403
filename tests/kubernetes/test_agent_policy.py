"""What Kata's agent lets the host do in the guest of a pod: requests as it puts them, and an evaluator of Rego."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import regopy

from enarx_kubernetes import agent_policy

IMAGE = f"registry.example/shop/echo@sha256:{'a' * 64}"
ARGS = ("python3", "-m", "enarx_deploy.host.pod", "--package", f"sha256:{'b' * 64}", "--backend", "snp")
ENV = ("PATH=/usr/bin", "PYTHONPATH=/opt/enarx-deploy")
PROBE = ("python3", "-I", "/opt/enarx-deploy/serving.py")
BUNDLE = "/run/kata-containers/0a1b/rootfs"
SHARED = "/run/kata-containers/shared/containers/0a1b"

PULLED = {"driver": "image_guest_pull", "source": IMAGE, "fstype": "overlay", "mount_point": BUNDLE}
MEMORY = {
    "driver": "ephemeral",
    "source": "tmpfs",
    "fstype": "tmpfs",
    "mount_point": "/run/kata-containers/sandbox/ephemeral/work",
}
KEEP: dict[str, Any] = {
    "container_id": "0a1b",
    "OCI": {
        "Root": {"Path": BUNDLE, "Readonly": True},
        "Process": {
            "Args": list(ARGS),
            "Cwd": "/",
            "Env": [*ENV, "HOSTNAME=echo-1", "KUBERNETES_SERVICE_HOST=10.0.0.1"],
        },
        "Mounts": [
            {"destination": "/proc", "source": "proc", "type_": "proc"},
            {"destination": "/etc/resolv.conf", "source": f"{SHARED}-resolv.conf", "type_": "bind"},
            {"destination": "/etc/enarx", "source": f"{SHARED}-enarx", "type_": "bind"},
            {"destination": "/run/enarx", "source": MEMORY["mount_point"], "type_": "bind"},
            {"destination": "/tmp", "source": "/run/kata-containers/sandbox/ephemeral/tmp", "type_": "bind"},
            {"destination": "/sys/kernel/config", "source": "/sys/kernel/config", "type_": "bind"},
        ],
    },
    "storages": [PULLED, MEMORY],
    "devices": [],
}
PAUSE: dict[str, Any] = {
    "container_id": "0a1b",
    "OCI": {
        "Root": {"Path": BUNDLE, "Readonly": True},
        "Process": {"Args": ["/pause"], "Cwd": "/", "Env": ["PATH=/usr/bin"]},
        "Mounts": [{"destination": "/proc", "source": "proc", "type_": "proc"}],
    },
    "storages": [PULLED | {"source": "pause"}],
    "devices": [],
}


@pytest.fixture(scope="module")
def allowed() -> Callable[[str, Any], bool]:
    interpreter = regopy.Interpreter()
    text = agent_policy.text(IMAGE, ARGS, ENV, PROBE, ("/run/enarx", "/tmp"), "/etc/enarx")
    interpreter.add_module("agent_policy", text)

    def ask(request: str, said: Any) -> bool:
        interpreter.set_input(said)
        answer = str(interpreter.query(f"data.agent_policy.{request}"))
        assert answer in ('{"expressions":[true]}', '{"expressions":[false]}', "undefined"), answer
        return "true" in answer

    return ask


@pytest.mark.parametrize("what", [KEEP, PAUSE])
def test_the_pod_as_it_was_rendered_is_created(allowed, what):
    assert allowed("CreateContainerRequest", what)


CHANGES: dict[str, Callable[[Any], object]] = {
    "another-image": lambda one: one["storages"].__setitem__(0, PULLED | {"source": IMAGE.replace("a", "c")}),
    "an-image-by-its-tag": lambda one: one["storages"].__setitem__(0, PULLED | {"source": "registry.example/shop:1"}),
    "an-image-of-the-hosts": lambda one: one["storages"].__delitem__(0),
    "two-images": lambda one: one["storages"].append(PULLED),
    "a-root-that-the-host-shares": lambda one: one["OCI"]["Root"].update(Path=f"{SHARED}/rootfs"),
    "a-root-beside-the-image": lambda one: one["OCI"]["Root"].update(Path="/run/kata-containers/0c/rootfs"),
    "another-package": lambda one: one["OCI"]["Process"]["Args"].__setitem__(4, f"sha256:{'c' * 64}"),
    "another-backend": lambda one: one["OCI"]["Process"]["Args"].__setitem__(6, "nil"),
    "another-program": lambda one: one["OCI"]["Process"].update(Args=["/bin/sh"]),
    "another-directory": lambda one: one["OCI"]["Process"].update(Cwd="/etc/enarx"),
    "a-library-to-load": lambda one: one["OCI"]["Process"]["Env"].append("LD_PRELOAD=/tmp/x.so"),
    "another-path-of-modules": lambda one: one["OCI"]["Process"]["Env"].append("PYTHONPATH=/etc/enarx"),
    "files-over-the-program": lambda one: one["OCI"]["Mounts"].append(
        {"destination": "/opt/enarx-deploy", "source": f"{SHARED}-x", "type_": "bind"}
    ),
    "state-that-the-host-has": lambda one: one["OCI"]["Mounts"][3].update(source=f"{SHARED}-work"),
    "an-attester-of-the-hosts": lambda one: one["OCI"]["Mounts"][5].update(source=f"{SHARED}-config"),
    "a-disk-over-the-guests-files": lambda one: one["storages"].append(
        {"driver": "blk", "source": "01/02", "fstype": "ext4", "mount_point": "/run/kata-containers/0a1b/rootfs/opt"}
    ),
    "memory-over-the-guests-files": lambda one: one["storages"].append(MEMORY | {"mount_point": "/usr/bin"}),
    "a-way-out-of-a-place": lambda one: one["storages"].append(
        MEMORY | {"mount_point": "/run/kata-containers/sandbox/../../../usr"}
    ),
    "a-device": lambda one: one["devices"].append({"id": "sda"}),
    "a-hook": lambda one: one["OCI"].update(Hooks={"Prestart": []}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_other_container_is_created(allowed, change):
    other = copy.deepcopy(KEEP)
    CHANGES[change](other)
    assert other != KEEP
    assert not allowed("CreateContainerRequest", other)


def test_what_holds_the_namespaces_is_the_guests_own(allowed):
    other = copy.deepcopy(PAUSE)
    other["OCI"]["Mounts"].append({"destination": "/pause", "source": f"{SHARED}-pause", "type_": "bind"})
    assert not allowed("CreateContainerRequest", other)
    assert not allowed("CreateContainerRequest", PAUSE | {"storages": [PULLED | {"source": "registry.example/pause"}]})


def test_the_probe_runs_beside_it_and_no_shell(allowed):
    assert allowed("ExecProcessRequest", {"process": {"Args": list(PROBE)}})
    for args in (["sh"], [*PROBE, "x"], ["python3", "-c", "1"], []):
        assert not allowed("ExecProcessRequest", {"process": {"Args": args}})


def test_a_machine_is_made_without_hooks_and_modules(allowed):
    assert allowed("CreateSandboxRequest", {"guest_hook_path": "", "kernel_modules": []})
    assert not allowed("CreateSandboxRequest", {"guest_hook_path": "/hooks", "kernel_modules": []})
    assert not allowed("CreateSandboxRequest", {"guest_hook_path": "", "kernel_modules": [{"name": "x"}]})


def test_files_go_where_the_host_shares_them_and_nowhere_else(allowed):
    assert allowed("CopyFileRequest", {"path": f"{SHARED}-resolv.conf"})
    assert not allowed("CopyFileRequest", {"path": "/usr/bin/python3"})
    assert not allowed("CopyFileRequest", {"path": f"{SHARED}/../../../../usr/bin/python3"})


@pytest.mark.parametrize("request_name", ["SetPolicyRequest", "WriteStreamRequest", "AddSwapRequest", "OfTomorrow"])
def test_what_would_change_the_guest_is_refused_and_so_is_what_is_not_known(allowed, request_name):
    assert not allowed(request_name, {})


@pytest.mark.parametrize("request_name", ["StartContainerRequest", "WaitProcessRequest", "ReadStreamRequest"])
def test_what_every_pod_takes_is_granted(allowed, request_name):
    assert allowed(request_name, {})
