"""What Kata's agent lets the host do in the guest of a pod: requests as it puts them, and an evaluator of Rego."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import regopy

from enarx_kubernetes import agent_policy

IMAGE = f"registry.example/shop/echo@sha256:{'a' * 64}"
ARGS = ("python3", "-m", "enarx_deploy.host.pod", "--package", f"sha256:{'b' * 64}", "--backend", "snp")
ENV = ("PATH=/usr/bin", "PYTHONPATH=/opt/enarx-deploy")
PROBE = ("python3", "-I", "/opt/enarx-deploy/serving.py")
CONTAINER = "0a1b" * 16
ROOT = f"/run/kata-containers/{CONTAINER}/rootfs"
SHARED = f"/run/kata-containers/shared/containers/{CONTAINER}-0123456789abcdef"


def pulled(source: str, kind: str) -> dict[str, Any]:
    told = {"metadata": {"io.kubernetes.cri.container-type": kind}}
    return {
        "driver": "image_guest_pull",
        "driver_options": [f"image_guest_pull={json.dumps(told)}"],
        "source": source,
        "fstype": "overlay",
        "mount_point": ROOT,
        "options": [],
    }


PULLED = pulled(IMAGE, "container")
MEMORY = {
    "driver": "ephemeral",
    "source": "tmpfs",
    "fstype": "tmpfs",
    "mount_point": "/run/kata-containers/sandbox/ephemeral/work",
    "options": ["mode=1777"],
}
SHM = MEMORY | {"source": "shm", "mount_point": "/run/kata-containers/sandbox/shm"}
PROC = {"destination": "/proc", "source": "proc", "type_": "proc", "options": ["nosuid", "noexec", "nodev"]}
KEEP: dict[str, Any] = {
    "container_id": CONTAINER,
    "string_user": None,
    "shared_mounts": [],
    "OCI": {
        "Hooks": None,
        "Linux": {"Sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}},
        "Root": {"Path": ROOT, "Readonly": True},
        "Process": {
            "Args": list(ARGS),
            "Cwd": "/",
            "Env": [*ENV, "HOSTNAME=echo-1", "KUBERNETES_SERVICE_HOST=10.0.0.1"],
        },
        "Mounts": [
            PROC,
            {"destination": "/dev/shm", "source": SHM["mount_point"], "type_": "bind", "options": ["rbind"]},
            {"destination": "/dev/termination-log", "source": f"{SHARED}-termination-log", "type_": "bind"},
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
    "container_id": CONTAINER,
    "string_user": None,
    "shared_mounts": [],
    "OCI": {
        "Hooks": None,
        "Linux": {"Sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}},
        "Root": {"Path": ROOT, "Readonly": True},
        "Process": {"Args": ["/pause"], "Cwd": "/", "Env": ["PATH=/usr/bin"]},
        "Mounts": [PROC],
    },
    "storages": [pulled("pause", "sandbox")],
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
    "state-that-the-host-has": lambda one: one["OCI"]["Mounts"][5].update(source=f"{SHARED}-work"),
    "an-attester-of-the-hosts": lambda one: one["OCI"]["Mounts"][7].update(source=f"{SHARED}-config"),
    "a-disk-over-the-guests-files": lambda one: one["storages"].append(
        {"driver": "blk", "source": "01/02", "fstype": "ext4", "mount_point": f"{ROOT}/opt", "options": []}
    ),
    "memory-over-the-guests-files": lambda one: one["storages"].append(MEMORY | {"mount_point": "/usr/bin"}),
    "a-way-out-of-a-place": lambda one: one["storages"].append(
        MEMORY | {"mount_point": "/run/kata-containers/sandbox/../../../usr"}
    ),
    "memory-where-the-image-is-pulled-to": lambda one: one["storages"].append(MEMORY | {"mount_point": ROOT}),
    "a-container-whose-place-is-the-machines": lambda one: (
        one.update(container_id="sandbox"),
        one["OCI"]["Root"].update(Path="/run/kata-containers/sandbox/rootfs"),
        one["storages"][0].update(mount_point="/run/kata-containers/sandbox/rootfs"),
    ),
    "disks-put-together-by-options": lambda one: one["storages"].append(
        MEMORY | {"options": ["X-kata.multi-layer=true"]}
    ),
    "files-of-another-container": lambda one: one["shared_mounts"].append(
        {"src_ctr": "0c", "src_path": "/etc/enarx", "dst_ctr": CONTAINER, "dst_path": "/opt/enarx-deploy"}
    ),
    "a-kernel-file-system-of-the-hosts": lambda one: one["OCI"]["Mounts"].append(
        {"destination": "/sys", "source": f"{SHARED}-sys", "type_": "bind"}
    ),
    "a-kernel-file-system-bound-by-an-option": lambda one: one["OCI"]["Mounts"].append(
        {"destination": "/dev", "source": "x", "type_": "tmpfs", "options": ["rbind"]}
    ),
    "layers-under-the-attester": lambda one: one["OCI"]["Mounts"][7].update(
        type_="overlay", options=[f"lowerdir={SHARED}-config"]
    ),
    "shared-memory-of-the-hosts": lambda one: one["OCI"]["Mounts"][1].update(source=f"{SHARED}-shm"),
    "files-of-the-guest": lambda one: one["OCI"]["Mounts"][4].update(source="/run/kata-containers/0c/rootfs/etc"),
    "a-program-for-cores": lambda one: one["OCI"]["Linux"].update(Sysctl={"kernel.core_pattern": f"|{SHARED}-x"}),
    "a-user-by-name": lambda one: one.update(string_user={"uid": "root"}),
    "a-device": lambda one: one["devices"].append({"id": "sda"}),
    "a-hook": lambda one: one["OCI"].update(Hooks={"Prestart": [{"Path": f"{SHARED}-x"}]}),
    "hooks-that-are-not-told": lambda one: one["OCI"].pop("Hooks"),
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
    assert not allowed("CreateContainerRequest", PAUSE | {"storages": [pulled("registry.example/pause", "sandbox")]})
    assert not allowed("CreateContainerRequest", PAUSE | {"storages": [pulled("pause", "container")]})


EXECUTED: dict[str, Any] = {"string_user": None, "process": {"Args": list(PROBE), "Cwd": "/", "Env": list(ENV)}}


def test_the_probe_runs_beside_it_and_no_shell(allowed):
    assert allowed("ExecProcessRequest", EXECUTED)
    for args in (["sh"], [*PROBE, "x"], ["python3", "-c", "1"], []):
        assert not allowed("ExecProcessRequest", EXECUTED | {"process": EXECUTED["process"] | {"Args": args}})


@pytest.mark.parametrize(
    "changed",
    [
        {"Env": [*ENV, "LD_PRELOAD=/etc/enarx/x.so"]},
        {"Env": ["PATH=/etc/enarx"]},
        {"Cwd": "/etc/enarx"},
    ],
)
def test_the_probe_runs_no_program_of_the_hosts(allowed, changed):
    assert not allowed("ExecProcessRequest", EXECUTED | {"process": EXECUTED["process"] | changed})


MACHINE: dict[str, Any] = {"guest_hook_path": "", "kernel_modules": [], "sandbox_pidns": False, "storages": [SHM]}


@pytest.mark.parametrize(
    "changed",
    [
        {"guest_hook_path": "/hooks"},
        {"kernel_modules": [{"name": "x"}]},
        {"sandbox_pidns": True},
        {"storages": [{"driver": "virtio-fs", "source": "kataShared", "fstype": "virtiofs", "mount_point": "/usr"}]},
        {"storages": [SHM | {"mount_point": "/usr/bin"}]},
        {"storages": [SHM | {"mount_point": ROOT}]},
    ],
)
def test_a_machine_is_made_without_hooks_modules_and_file_systems_of_the_hosts(allowed, changed):
    assert allowed("CreateSandboxRequest", MACHINE)
    assert not allowed("CreateSandboxRequest", MACHINE | changed)


@pytest.mark.parametrize("no_link", [{"symlink_src": ""}, {"file_type": "Regular"}, {"file_type": "Directory"}])
def test_files_go_where_the_host_shares_them_and_nowhere_else(allowed, no_link):
    for path in (f"{SHARED}-resolv.conf", f"{SHARED}-enarx/..2026_11_26_10_00_00.1/root.pem"):
        assert allowed("CopyFileRequest", {"path": path, **no_link})
    for path in ("/usr/bin/python3", f"{SHARED}-x/../../../../usr/bin/python3", f"{ROOT}/usr/bin/python3"):
        assert not allowed("CopyFileRequest", {"path": path, **no_link})


def links(target: str) -> list[dict[str, str]]:
    """A link to it, as one agent says it and as another does."""
    return [{"symlink_src": target}, {"file_type": "Symlink", "symlink_target": target}]


def test_links_of_a_config_map_are_copied_and_none_that_leads_out_of_it(allowed):
    for said in (*links("..2026_11_26_10_00_00.1"), *links("..data/root.pem")):
        assert allowed("CopyFileRequest", {"path": f"{SHARED}-enarx/..data", **said})
    for said in (*links("/usr/bin"), *links("../../../../usr/bin"), *links("..")):
        assert not allowed("CopyFileRequest", {"path": f"{SHARED}-enarx/..data", **said})
    for said in links("x"):
        assert not allowed("CopyFileRequest", {"path": f"{SHARED}-enarx", **said})


def test_an_agent_that_does_not_say_what_is_copied_copies_nothing(allowed):
    assert not allowed("CopyFileRequest", {"path": f"{SHARED}-resolv.conf"})


@pytest.mark.parametrize("request_name", ["SetPolicyRequest", "WriteStreamRequest", "AddSwapRequest", "OfTomorrow"])
def test_what_would_change_the_guest_is_refused_and_so_is_what_is_not_known(allowed, request_name):
    assert not allowed(request_name, {})


@pytest.mark.parametrize("request_name", ["StartContainerRequest", "WaitProcessRequest", "ReadStreamRequest"])
def test_what_every_pod_takes_is_granted(allowed, request_name):
    assert allowed(request_name, {})
