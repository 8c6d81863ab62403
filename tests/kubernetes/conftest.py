"""Fixtures: a real cluster of one node, a registry that it pulls from, and a Steward that its pods can reach."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Program
from tests.kubernetes import engine
from tests.kubernetes.engine import Engine
from tests.ports import free_port
from tests.registries.conftest import Server, docker_registry

from enarx_deploy.protocols import silent
from enarx_kubernetes.image.layer import File, Layer
from enarx_registries import oci_images

PAUSE = 'void _start(void){for(;;)__asm__ volatile("syscall"::"a"(34):"rcx","r11","memory");}'
"""What holds a pod's namespaces: it waits for signals (pause(2), by its number on x86-64)."""

MISSING_HANDLER = "of-no-node"
"""A RuntimeClass of the cluster whose handler the node's containerd does not know."""


@dataclass
class Cluster:
    """A cluster with its node, the registry, and what a test asks of them."""

    engine: Engine
    registry: Server

    @property
    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.engine.kubeconfig)}

    def get(self, path: str) -> Any:
        return self.engine.ask(path).json()

    def pods(self, name: str) -> list[Any]:
        selector = f"labelSelector=app.kubernetes.io/instance%3D{name}"
        found = self.get(f"/api/v1/namespaces/default/pods?{selector}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def deployment(self, name: str) -> Any:
        return self.get(f"/apis/apps/v1/namespaces/default/deployments/{name}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Kubernetes 1.20 with one node, on containerd."""
    engine.require_programs()
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is here, for the pause of pods")
    place = tmp_path_factory.mktemp("k")
    with docker_registry(tmp_path_factory.mktemp("registry")) as registry, engine.running(place) as running:
        running.start_node(push_pause(place, registry), ("kata-qemu-snp",))
        yield Cluster(running, registry)


def push_pause(place: Path, registry: Server) -> str:
    (place / "pause.c").write_text(PAUSE)
    subprocess.run(["cc", "-static", "-nostdlib", "-Os", "-o", "pause", "pause.c"], cwd=place, check=True)
    layer = Layer({"/pause": File(place / "pause", executable=True)})
    configuration = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"]}}
    return oci_images.push(f"oci+http://{registry.host}/pause", [layer], configuration, "", silent)


@dataclass
class Shop:
    """A project for the cluster, and the Steward of its Keeps."""

    program: Program
    cluster: Cluster
    steward: Path

    def __call__(self, *words: str, **given: Any) -> subprocess.CompletedProcess[str]:
        return self.program(*words, env=self.cluster.environment, timeout=300, **given)

    def json(self, *words: str) -> Any:
        ended = self(*words, "--json")
        assert ended.returncode == 0, ended.stderr + self.cluster.engine.last_words()
        return json.loads(ended.stdout)

    def up(self, *words: str) -> Any:
        return self.json("up", "--context", engine.CONTEXT, *words)

    def greeting(self, pod: Any, port: int = 8443) -> bytes:
        """What the service answers a client that believes the Steward's root alone."""
        context = ssl.create_default_context(cafile=self.steward / "root.pem")
        with (
            socket.create_connection((pod["status"]["podIP"], port), timeout=120) as plain,
            context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True) as client,
        ):
            client.sendall(b"hello\n")
            return client.recv(64)


@pytest.fixture(scope="module")
def shop(cluster: Cluster, module_enarx_deploy: Program, zig_cache: Path, kept: Path) -> Iterator[Shop]:
    """The template `echo`, for the cluster. What was compiled for images is kept from one session to the next."""
    program = module_enarx_deploy
    cache = kept / "images"
    cache.mkdir(mode=0o700, exist_ok=True)
    program.environment["ENARX_DEPLOY_CACHE_DIR"] = str(cache)
    program.environment["ZIG_GLOBAL_CACHE_DIR"] = str(zig_cache)
    steward = program.directory.parent / "steward"
    url = f"https://{cluster.engine.gateway}:{free_port()}"
    assert program("steward", "--init", "--state", str(steward)).returncode == 0
    policy = steward / "steward.toml"
    policy.write_text(policy.read_text().replace("[ca]\n", f'[ca]\naudience = "{url}"\n'))
    serving = program.start("steward", "--state", str(steward), "--listen", url.removeprefix("https://"))
    await_port(*url.removeprefix("https://").split(":"))
    assert program("new", "echo", ".").returncode == 0
    write_project(program.directory, url, cluster.registry)
    yield Shop(program, cluster, steward)
    serving.terminate()


def write_project(directory: Path, url: str, registry: Server) -> None:
    manifest = directory / "Enarx.toml"
    text = manifest.read_text().replace("port = 10010", "port = 8443")
    manifest.write_text(f"""steward = "{url}"
{text}
[deploy.default]
target = "kubernetes"
backend = "nil"
name = "shop"

[deploy.default.kubernetes]
repository = "oci+http://{registry.host}/shop/echo"
cpu = "10m"
memory = "64Mi"
metrics_port = 9464
patience = 240
""")


def await_port(host: str, port: str) -> None:
    for _ in range(1200):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.1)
    pytest.fail(f"nothing listens on {host} port {port}")


def eventually(holds: Callable[[], Any], what: str, patience: float = 120.0) -> Any:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if answer := holds():
            return answer
        time.sleep(0.2)
    pytest.fail(f"waited {patience:.0f} s in vain: {what}")
