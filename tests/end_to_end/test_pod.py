"""The host process of a pod, with no cluster around it: what it needs, what it writes down, and how it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import Program
from tests.ports import free_port

from enarx_deploy.host.metrics import usage_in
from enarx_files.whole import write_atomically
from enarx_kubernetes.image import runtime

ROOT = Path(__file__).parents[2]
PROBE = ROOT / "plugins/enarx_kubernetes/image/serving.py"
PROGRAM = """
import functools
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from enarx_deploy.host import pod, renewal
pod.PACKAGES, pod.WORK, pod.TERMINATION, ahead = (Path(word) for word in sys.argv[2:6])
pod.UNREADY = 10.0
renewal.LOOK_EVERY = 0.1
pod.Renewal = functools.partial(renewal.Renewal, clock=lambda: time.time() + float(ahead.read_text()))
sys.exit(pod.main(sys.argv[6:]))
"""
"""A pod with places of its own, whose clock for renewals is ahead by what a file says (seconds)."""


def write_metadata(place: Path) -> None:
    """Which plugins there are, as the image of a pod says it."""
    for name, file in runtime.own_metadata():
        assert isinstance(file, bytes)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(file)


@dataclass(frozen=True)
class Made:
    """A package, and a Steward that does not run yet."""

    cli: Program
    port: int
    package: dict[str, Any]
    state: Path
    listens: str
    metadata: Path


@pytest.fixture(scope="module")
def made(module_enarx_deploy: Program, shared_cache: Path, zig_cache: Path, tmp_path_factory: Any) -> Made:
    cli, place = module_enarx_deploy, tmp_path_factory.mktemp("pods")
    cli.environment |= {"ENARX_DEPLOY_CACHE_DIR": str(shared_cache), "ZIG_GLOBAL_CACHE_DIR": str(zig_cache)}
    port, listens = free_port(), f"127.0.0.1:{free_port()}"
    assert cli("new", "echo", ".").returncode == 0
    packed = cli("package", "--json", "--set", f"steward=http://{listens}", "--set", f"files.echo.port={port}")
    assert packed.returncode == 0, packed.stderr
    assert cli("steward", "--init", "--state", str(place / "steward")).returncode == 0
    write_metadata(place / "metadata")
    return Made(cli, port, json.loads(packed.stdout), place / "steward", listens, place / "metadata")


class Pod:
    """The places that a container would have, and what runs in it."""

    def __init__(self, made: Made, tmp_path: Path) -> None:
        self.cli, self.port, self.package, self.state = made.cli, made.port, made.package, made.state
        self.listens, self.metadata = made.listens, made.metadata
        self.work, self.termination = tmp_path / "run", tmp_path / "termination"
        self.work.mkdir()
        self.ahead = tmp_path / "ahead"
        self.ahead.write_text("0")
        self.started: list[subprocess.Popen[str]] = []

    def start_steward(self) -> subprocess.Popen[str]:
        """It listens some time later, which a pod waits for."""
        self.started.append(self.cli.start("steward", "--state", str(self.state), "--listen", self.listens))
        return self.started[-1]

    def start(
        self, root: Path, *, digest: str = "", backend: str = "nil", root_digest: str = "", metrics_port: int = 0
    ) -> subprocess.Popen[str]:
        packages = Path(self.package["root"]).parent
        places = [*map(str, (self.metadata, packages, self.work, self.termination, self.ahead))]
        words = ["--package", digest or self.package["digest"], "--backend", backend, "--steward-root", str(root)]
        if metrics_port:
            words += ["--metrics-port", str(metrics_port)]
        if root_digest:
            words += ["--steward-root-digest", root_digest]
        kept = {name: value for name, value in self.cli.environment.items() if "_DIR" not in name}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *places, *words],
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()

    @property
    def status(self) -> dict[str, Any]:
        try:
            return json.loads((self.work / "status.json").read_bytes())
        except OSError:
            return {}

    def probe(self) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", str(PROBE), str(self.work / "status.json")]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    @contextlib.contextmanager
    def connected(self) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cafile=self.state / "root.pem")
        with (
            socket.create_connection(("localhost", self.port), timeout=120) as plain,
            context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True) as client,
        ):
            yield client

    def echo(self) -> bytes:
        with self.connected() as client:
            client.sendall(b"hello\n")
            return client.recv(64)

    def certificate(self) -> bytes:
        """What a new client is shown."""
        with self.connected() as client:
            return client.getpeercert(binary_form=True) or b""


@pytest.fixture
def pod(made: Made, tmp_path: Path) -> Iterator[Pod]:
    pod = Pod(made, tmp_path)
    yield pod
    pod.end()


def test_a_pod_waits_for_its_steward_serves_is_found_ready_and_leaves_in_order(pod: Pod, eventually) -> None:
    assert pod.probe().returncode == 1
    port = free_port()
    process = pod.start(pod.state / "root.pem", metrics_port=port)
    assert process.stderr is not None
    away = next(line for line in process.stderr if "cannot be reached" in line)
    assert "trying for 60 s" in away
    pod.start_steward()
    eventually(lambda: pod.status.get("state") == "running" or process.poll() is not None, "the Keep runs")
    assert process.poll() is None, process.communicate()[1]
    assert pod.echo() == b"hello\n"
    assert pod.probe().returncode == 0
    assert pod.status["certificate_not_after"]
    by_pods_address = {"Host": f"10.244.0.7:{port}"}  # as a Prometheus of the cluster asks
    used = usage_in(httpx.get(f"http://127.0.0.1:{port}/metrics", headers=by_pods_address, timeout=120).text)
    assert used.connections >= 1
    assert used.memory > 1 << 20
    process.send_signal(signal.SIGTERM)
    eventually(lambda: pod.status["state"] == "stopping", "it says that it is leaving")
    assert pod.echo() == b"hello\n"  # for as long as others may still take it for ready
    assert pod.probe().returncode == 1
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "enarx-deploy: certificate {" in said
    assert pod.status["state"] == "exited"


LATER = b"57600"
"""Seconds, 16 hours: of the day that the Steward gives, more than what a renewal waits for, and less than all."""


def test_a_pod_renews_by_the_clock_and_goes_on_while_its_steward_is_away(pod: Pod, eventually) -> None:
    steward = pod.start_steward()
    pod.start(pod.state / "root.pem")
    eventually(lambda: pod.status.get("state") == "running", "the Keep runs")
    with pod.connected() as old:
        first = pod.certificate()
        steward.kill()
        steward.wait()
        write_atomically(pod.ahead, LATER)
        failure = eventually(lambda: pod.status["renewal_failure"], "it tries to renew")
        assert "not renewed" in failure
        assert "cannot be reached" in failure
        assert pod.probe().returncode == 0
        assert pod.certificate() == first
        pod.start_steward()
        eventually(lambda: pod.certificate() != first, "a new client is shown another certificate")
        eventually(lambda: pod.status["renewal_failure"] == "", "and nothing is wrong any more")
        old.sendall(b"still here\n")
        assert old.recv(64) == b"still here\n"


def test_a_steward_under_another_root_gets_nothing_signed(pod: Pod, tmp_path: Path) -> None:
    assert pod.cli("steward", "--init", "--state", str(tmp_path / "other")).returncode == 0
    pod.start_steward()
    process = pod.start(tmp_path / "other/root.pem")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "has another root certificate now" in said
    assert "has another root certificate now" in pod.termination.read_text()
    assert pod.probe().returncode == 1


def test_another_package_than_was_asked_for_is_not_run(pod: Pod) -> None:
    process = pod.start(pod.state / "root.pem", digest=f"sha256:{'0' * 64}")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "enarx-deploy: " in said
    assert "Traceback" not in said


def test_a_pod_that_is_to_be_attested_does_not_start_where_no_guest_vouches_for_it(pod: Pod) -> None:
    process = pod.start(pod.state / "root.pem", backend="snp")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "no snp guest vouches for this Keep" in said
    for looked_for in ("/sys/kernel/config/tsm/report", "/dev/sev-guest", "/dev/tdx_guest"):
        assert looked_for in pod.termination.read_text()
    assert "Traceback" not in said


def test_a_root_that_somebody_changed_is_not_taken(pod: Pod) -> None:
    process = pod.start(pod.state / "root.pem", root_digest=f"sha256:{'0' * 64}")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "is not the root that this pod was made for" in said


def test_an_expired_certificate_is_not_ready(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    for ends, code in (("2020-01-01T00:00:00Z", 1), ("2099-01-01T00:00:00Z", 0), ("", 0)):
        status.write_text(json.dumps({"state": "running", "certificate_not_after": ends}))
        words = [sys.executable, "-I", str(PROBE), str(status)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr
