"""The host process of a pod, with no cluster around it: what it needs, what it writes down, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROBE = ROOT / "plugins/enarx_kubernetes/image/serving.py"
PROGRAM = """
import sys
from pathlib import Path
from enarx_deploy.host import pod
pod.PACKAGES, pod.WORK, pod.TERMINATION = (Path(word) for word in sys.argv[1:4])
pod.UNREADY = 0.5
sys.exit(pod.main(sys.argv[4:]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pod:
    """A package and a Steward, and the places that a container would have."""

    def __init__(self, cli: Any, tmp_path: Path) -> None:
        self.cli = cli
        self.work, self.termination = tmp_path / "run", tmp_path / "termination"
        self.work.mkdir()
        self.port, steward = free_port(), f"http://127.0.0.1:{free_port()}"
        assert cli("new", "echo", ".").returncode == 0
        sets = ("--set", f"steward={steward}", "--set", f"files.echo.port={self.port}")
        made = cli("package", "--json", *sets)
        assert made.returncode == 0, made.stderr
        self.package = json.loads(made.stdout)
        self.state = tmp_path / "steward"
        assert cli("steward", "--init", "--state", str(self.state)).returncode == 0
        cli.start("steward", "--state", str(self.state), "--listen", steward.removeprefix("http://"))

    def start(self, root: Path, digest: str = "") -> subprocess.Popen[str]:
        places = [str(Path(self.package["root"]).parent), str(self.work), str(self.termination)]
        words = ["--package", digest or self.package["digest"], "--backend", "nil", "--steward-root", str(root)]
        kept = {name: value for name, value in self.cli.environment.items() if "_DIR" not in name}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *places, *words],
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def status(self) -> dict[str, Any]:
        try:
            return json.loads((self.work / "status.json").read_bytes())
        except OSError:
            return {}

    def probe(self) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", str(PROBE), str(self.work / "status.json")]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def echo(self) -> bytes:
        context = ssl.create_default_context(cafile=self.state / "root.pem")
        with (
            socket.create_connection(("localhost", self.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True) as client,
        ):
            client.sendall(b"hello\n")
            return client.recv(64)


@pytest.fixture
def pod(cli: Any, tmp_path: Path) -> Pod:
    return Pod(cli, tmp_path)


def test_a_pod_serves_is_found_ready_and_leaves_in_order(pod: Pod, eventually) -> None:
    assert pod.probe().returncode == 1
    process = pod.start(pod.state / "root.pem")
    try:
        eventually(lambda: pod.status.get("state") == "running" or process.poll() is not None, "the Keep runs")
        assert process.poll() is None, process.communicate()[1]
        assert pod.echo() == b"hello\n"
        assert pod.probe().returncode == 0
        assert pod.status["certificate_not_after"]
        process.send_signal(signal.SIGTERM)
        eventually(lambda: pod.status["state"] == "stopping", "it says that it is leaving")
        assert pod.probe().returncode == 1
        assert pod.echo() == b"hello\n"  # for as long as others may still take it for ready
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "enarx-deploy: certificate {" in said
    assert pod.status["state"] == "exited"


def test_a_steward_under_another_root_gets_nothing_signed(pod: Pod, cli: Any, tmp_path: Path) -> None:
    assert cli("steward", "--init", "--state", str(tmp_path / "other")).returncode == 0
    process = pod.start(tmp_path / "other/root.pem")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "has another root certificate now" in said
    assert "has another root certificate now" in pod.termination.read_text()
    assert pod.probe().returncode == 1


def test_another_package_than_was_asked_for_is_not_run(pod: Pod) -> None:
    process = pod.start(pod.state / "root.pem", f"sha256:{'0' * 64}")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "enarx-deploy: " in said
    assert "Traceback" not in said


def test_an_expired_certificate_is_not_ready(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    for ends, code in (("2020-01-01T00:00:00Z", 1), ("2099-01-01T00:00:00Z", 0), ("", 0)):
        status.write_text(json.dumps({"state": "running", "certificate_not_after": ends}))
        words = [sys.executable, "-I", str(PROBE), str(status)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr
