"""A Keep that is a virtual machine, from `up` to its end, as a user sees it; emulated, so that this runs anywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from tests import qemu
from tests.end_to_end.conftest import Service
from tests.keep_image import debs, image

from enarx_backends.acceleration import ASKED
from enarx_image import build, pins

__all__ = ["debs", "image"]


@pytest.fixture
def machine_cli(cli, image):
    """`enarx-deploy` with the image built, and guests emulated."""
    place = build.place(Path(cli.environment["ENARX_DEPLOY_CACHE_DIR"]) / "image", pins.load())
    if not place.exists():
        shutil.copytree(image.folder, place)
    cli.environment[ASKED] = "tcg"
    cli.environment["PATH"] = f"{qemu.program().parent}:{cli.environment['PATH']}"
    return cli


@pytest.mark.timeout(1200)  # the image may have to be made first
def test_an_echo_service_in_a_virtual_machine_from_up_to_the_end_of_qemu(
    machine_cli, echo_project, eventually, image
) -> None:
    cli = machine_cli
    project = echo_project(extra='[resources]\nmemory = "64 MiB"\n[deploy.default.local]\nrestart = "never"\n')
    done = cli("up", "--json", "-C", str(project), "--backend", "kvm", timeout=300)
    if done.returncode != 0:  # a guest that is emulated may be lost, less often than once in thirty
        done = cli("up", "--json", "-C", str(project), "--backend", "kvm", timeout=300)
    assert done.returncode == 0, done.stderr
    service = Service(cli, project, json.loads(done.stdout))
    assert service.record["deployment"]["backend"] == "kvm"
    assert service.echoes()
    assert service.echoes(os.urandom(300_000))

    verified = cli("verify", "--json", f"localhost:{service.port}", "--accept", "kvm")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert "kvm" in report["from_whom"]
    assert "without hardware protection" in report["from_whom"]
    expected = json.loads(cli("attest", "--json", "-C", str(project), "--backend", "kvm").stdout)
    assert image.digest in json.dumps(expected)
    refused = cli("verify", "--json", f"localhost:{service.port}", "--accept", "nil")
    assert refused.returncode != 0
    assert "echo: listening" in cli("logs", service.id, "--stream", "stdout").stdout
    assert "kvm: tcg:" in cli("logs", service.id).stdout

    made = Path(cli.environment["ENARX_DEPLOY_CACHE_DIR"], "guest-modules").glob("*/*.cwasm")
    assert list(made), "the Keep had to compile its module"

    qemu = service.keep_pid
    if os.geteuid() == 0:
        assert Path(f"/proc/{qemu}").stat().st_uid == 65534
    assert "Seccomp:\t2" in Path(f"/proc/{qemu}/status").read_text()
    os.kill(qemu, signal.SIGKILL)
    eventually(lambda: service.status()["state"] == "failed", "the end of the Keep is noted")
    assert "QEMU was ended by SIGKILL" in json.dumps(service.status())
    assert not Path(f"/proc/{qemu}").exists()
