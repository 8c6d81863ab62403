"""A real Kubernetes of one node: etcd, API server, controller manager, scheduler, and where it can be had a kubelet on
containerd, each a process of the test's own on loopback ports that were free.

`.ci/kubernetes` builds the programs of Kubernetes once; etcd and containerd are Debian's. What stands in the way is a
reason to skip, and is said.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from tests.ports import free_port

PLACE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enarx-deploy/kubernetes"
PROGRAMS = PLACE / "1.20"
CONTEXT = "test"
NETWORK = "10.251"
"""The first half of the addresses of pods, whose gateway is this machine."""

_TOKEN = "of-the-tests"
_PATIENCE = 120.0
_BUILDING = 900.0  # seconds


def require_programs() -> None:
    """Skip where Kubernetes is not built; wait for it where it is being built."""
    if not (PROGRAMS / "complete").exists() and (PLACE / "lock").exists():
        _await_build()
    if not (PROGRAMS / "complete").exists():
        pytest.skip("Kubernetes is not built: .ci/kubernetes does that")
    require_program("etcd", "etcd-server")


def require_program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def _await_build() -> None:
    until = time.monotonic() + _BUILDING
    with (PLACE / "lock").open("r") as lock:
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            time.sleep(1)


@dataclass
class Engine:
    """The cluster. Programs are started by `run`, and ended in the other order."""

    place: Path
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    has_node: bool = False

    @property
    def kubeconfig(self) -> Path:
        return self.place / "kubeconfig"

    def run(self, name: str, *arguments: str, program: str = "", environment: dict[str, str] | None = None) -> None:
        with (self.place / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [program or str(PROGRAMS / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.place,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.processes.append(process)

    def ask(self, path: str, method: str = "GET", body: object = None) -> httpx.Response:
        """One request to the API server, with all rights."""
        return httpx.request(
            method,
            f"https://127.0.0.1:{self.port}{path}",
            headers={
                "Authorization": f"Bearer {_TOKEN}",
                "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
            },
            content=json.dumps(body) if body is not None else None,
            verify=False,  # noqa: S501 - it is our own, on loopback
            timeout=60,
        )

    def await_(self, what: str, done: Callable[[], bool], patience: float = _PATIENCE) -> None:
        until = time.monotonic() + patience
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError, KeyError, OSError):
                if done():
                    return
            for process in self.processes:
                assert process.poll() is None, f"{process.args[0]} has ended:\n{self.last_words()}"
            time.sleep(0.2)
        pytest.fail(f"{what} in {patience:.0f} s:\n{self.last_words()}")

    def last_words(self) -> str:
        logs = sorted(self.place.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in logs)

    def start_control_plane(self) -> None:
        client, peer = free_port(), free_port()
        etcd = f"http://127.0.0.1:{client}"
        ours = f"http://127.0.0.1:{peer}"
        words = {"data-dir": "etcd", "listen-client-urls": etcd, "advertise-client-urls": etcd}
        words |= {"listen-peer-urls": ours, "initial-advertise-peer-urls": ours, "initial-cluster": f"default={ours}"}
        flags = [f"--{name}={value}" for name, value in words.items()]
        self.run("etcd", *flags, "--unsafe-no-fsync", program=require_program("etcd", "etcd-server"))
        subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=self.place, check=True, capture_output=True)
        (self.place / "tokens.csv").write_text(f'{_TOKEN},admin,admin-uid,"system:masters"\n')
        self.run(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--insecure-port=0",
            "--cert-dir=certs",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--advertise-address=127.0.0.1",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._write_kubeconfig()
        self.await_("the API server is not ready", lambda: self.ask("/readyz").text == "ok")
        self.run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--service-account-private-key-file=sa.key",
            "--controllers=*,-nodeipam,-route,-persistentvolume-binder,-attachdetach,-ttl",
            "--leader-elect=false",
            "--port=0",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--cert-dir=certs",
        )
        self.run(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--port=0",
            "--cert-dir=certs",
        )

    def await_controllers(self) -> None:
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.await_("the controllers do not work", lambda: self.ask(account).status_code == 200)

    def _write_kubeconfig(self) -> None:
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": "certs/apiserver.crt"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": _TOKEN}}],
            "current-context": CONTEXT,
            "contexts": [{"name": CONTEXT, "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.kubeconfig.chmod(0o600)

    def start_node(self, pause: str, runtimes: tuple[str, ...] = ()) -> None:
        """A kubelet on a containerd of our own, which pulls in clear from the registry that `pause` is in."""
        for program, package in (("containerd", "containerd"), ("runc", "runc"), ("iptables", "iptables")):
            require_program(program, package)
        if os.geteuid() or not Path("/usr/lib/cni/bridge").exists():
            pytest.skip("a node takes root, and Debian's containernetworking-plugins")
        self._write_node(pause, runtimes)
        self._make_bridge()
        self.run("containerd", "--config", "containerd.toml", program="containerd")
        self.await_("containerd is not ready", (self.place / "c.sock").exists)
        self.has_node = True
        self.run(
            "kubelet",
            f"--kubeconfig={self.kubeconfig}",
            "--config=kubelet.json",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.place}/c.sock",
            f"--root-dir={self.place}/kubelet",
            f"--cert-dir={self.place}/kubelet/pki",
            "--cni-bin-dir=/usr/lib/cni",
            f"--cni-conf-dir={self.place}/cni",
            "--hostname-override=node",
            f"--node-ip={self.gateway}",
        )
        self.await_controllers()
        self.await_("the node is not ready", self._is_node_ready)

    def _is_node_ready(self) -> bool:
        answer = self.ask("/api/v1/nodes/node")
        if answer.status_code != httpx.codes.OK:
            return False
        node = answer.json()
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])
        return ready and not node["spec"].get("taints")

    @property
    def bridge(self) -> str:
        return f"ed{self.port}"

    @property
    def gateway(self) -> str:
        return f"{NETWORK}.{self.port % 200}.1"

    def _make_bridge(self) -> None:
        """The network of pods, made before there is one, so that what they are to reach can listen there."""
        for words in (
            ["link", "add", self.bridge, "type", "bridge"],
            ["addr", "add", f"{self.gateway}/24", "dev", self.bridge],
            ["link", "set", self.bridge, "up"],
        ):
            subprocess.run(["ip", *words], check=True, capture_output=True)

    def _write_node(self, pause: str, runtimes: tuple[str, ...]) -> None:
        registry = pause.partition("/")[0]
        subnet = self.gateway.removesuffix(".1") + ".0/24"
        ipam = {"type": "host-local", "dataDir": f"{self.place}/ipam", "ranges": [[{"subnet": subnet}]]}
        ipam["routes"] = [{"dst": "0.0.0.0/0"}]
        bridge = {"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipMasq": False, "ipam": ipam}
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (self.place / "cni").mkdir()
        (self.place / "cni/pods.conflist").write_text(json.dumps(network))
        handlers = "".join(
            f'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]\n'
            'runtime_type = "io.containerd.runc.v2"\n'
            for name in ("runc", *runtimes)
        )
        (self.place / "containerd.toml").write_text(f"""
version = 2
root = "{self.place}/containerd"
state = "{self.place}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{self.place}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{self.place}/cni"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."{registry}"]
endpoint = ["http://{registry}"]
{handlers}
""")
        (self.place / "kubelet.json").write_text(
            json.dumps(
                {
                    "apiVersion": "kubelet.config.k8s.io/v1beta1",
                    "kind": "KubeletConfiguration",
                    "cgroupDriver": "cgroupfs",
                    "cgroupRoot": "/",
                    "failSwapOn": False,
                    "address": self.gateway,
                    "port": free_port(),
                    "healthzPort": 0,
                    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                    "authorization": {"mode": "AlwaysAllow"},
                    "makeIPTablesUtilChains": False,
                    "allowedUnsafeSysctls": ["net.ipv4.ip_unprivileged_port_start"],
                    "evictionHard": {"memory.available": "50Mi"},
                    "registerNode": True,
                    "syncFrequency": "2s",
                    "fileCheckFrequency": "30s",
                }
            )
        )

    def end(self) -> None:
        """End pods, then everything that was started, and what they leave mounted or linked."""
        if self.has_node:
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                self._end_pods()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._sweep()

    def _end_pods(self) -> None:
        """What made them first, so that none takes the place of another."""
        namespaces = [one["metadata"]["name"] for one in self.ask("/api/v1/namespaces").json()["items"]]
        for kind in ("apis/apps/v1/namespaces/{}/deployments", "apis/apps/v1/namespaces/{}/replicasets"):
            for namespace in namespaces:
                self.ask(f"/{kind.format(namespace)}", "DELETE", {"propagationPolicy": "Orphan"})
        for namespace in namespaces:
            self.ask(f"/api/v1/namespaces/{namespace}/pods", "DELETE", {"gracePeriodSeconds": 0})
        until = time.monotonic() + 60
        while time.monotonic() < until and self.ask("/api/v1/pods").json().get("items"):
            time.sleep(0.3)

    def _sweep(self) -> None:
        if not self.has_node:
            return
        _end_leftovers(self.place)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(str(self.place))), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)


def _end_leftovers(place: Path) -> None:
    """Shims outlive containerd on purpose: those of this place are ended by their own ids."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (directory / "cmdline").read_bytes().split(b"\0")
            if any(word.endswith(b"containerd-shim-runc-v2") for word in words[:1]) and str(
                place
            ).encode() in b" ".join(words):
                os.kill(int(directory.name), signal.SIGKILL)


@contextlib.contextmanager
def running(place: Path) -> Iterator[Engine]:
    """The control plane; `start_node` adds the node."""
    require_programs()
    engine = Engine(place)
    try:
        engine.start_control_plane()
        yield engine
    finally:
        engine.end()
