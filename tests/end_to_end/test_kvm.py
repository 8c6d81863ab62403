"""A Keep that is a virtual machine, from `up` to its end, as a user sees it; emulated, so that this runs anywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import qemu
from tests.end_to_end.conftest import Service
from tests.keep_image import debs, image

from enarx_backends import own_user
from enarx_backends.acceleration import ASKED
from enarx_image import build, measurement, pins
from enarx_image.image import Image

__all__ = ["debs", "image"]

pytestmark = pytest.mark.timeout(1200)  # the image may have to be made first
BOOT = 300
"""Seconds that an emulated machine may take to serve, on a machine with much to do."""
KEEPS = '[resources]\nmemory = "64 MiB"\n[deploy.default]\nbackend = "kvm"\n[deploy.default.local]\nrestart = "never"\n'


@pytest.fixture(scope="module")
def cache_with_image(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of these tests alone: others rely on there being no image in theirs."""
    cache = tmp_path_factory.mktemp("cache")
    shutil.copytree(image.folder, build.place(cache / "image", pins.load()))
    return cache


@pytest.fixture
def machine_cli(cli, cache_with_image: Path):
    """`enarx-deploy` with the image built, and guests emulated."""
    cli.environment["ENARX_DEPLOY_CACHE_DIR"] = str(cache_with_image)
    cli.environment[ASKED] = "tcg"
    cli.environment["PATH"] = f"{qemu.program().parent}:{cli.environment['PATH']}"
    return cli


@pytest.fixture
def changed_image(image: Image, tmp_path: Path) -> Callable[[str], Path]:
    """An image of which one byte is another, whose record is at one with it: what somebody else would have built."""

    def change(part: str) -> Path:
        folder = Path(shutil.copytree(image.folder, tmp_path / f"changed-{part}"))
        content = bytearray((folder / part).read_bytes())
        place = 0x10 if part == "kernel" else content.index(b"panic=-1") + 7  # it boots as before with either
        content[place] ^= 3
        (folder / part).write_bytes(content)
        record = msgspec.json.decode((folder / "image.json").read_bytes())
        record[part]["sha256"] = measurement.sha256(content)
        record["digest"] = measurement.image_digest(
            **{name: record[name]["sha256"] for name in ("kernel", "initrd", "cmdline")}
        )
        (folder / "image.json").write_bytes(msgspec.json.encode(record))
        return folder

    return change


def attested(cli: Any, project: Path, *words: str) -> dict[str, Any]:
    """The reference values of a project, which are also put into a file beside it."""
    done = cli("attest", "--json", "-C", str(project), *words)
    assert done.returncode == 0, done.stderr
    (project.parent / f"{project.name}.json").write_text(done.stdout)
    return dict(json.loads(done.stdout))


def accept_alone(cli: Any, values: dict[str, Any]) -> None:
    """Have the user's own Steward accept these reference values on kvm, and no others."""
    path = Path(cli.environment["ENARX_DEPLOY_STATE_DIR"]) / "steward/steward.toml"
    rules = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values["policy"]["kvm"].items())
    before, head, after = path.read_text().partition("[kvm]\n")
    after = re.sub(r"^(any_workload|packages|images) = .*\n", "", after, flags=re.M)
    path.write_text(before + head + rules + after)


def changed_projects(project: Path) -> dict[str, Path]:
    """The same project with one byte of its workload changed, and one of its manifest."""
    found = {}
    for name, file, before, after in (
        ("workload", "main.wasm", b"listening", b"listenin9"),
        ("manifest", "Enarx.toml", b'"64 MiB"', b'"65 MiB"'),
    ):
        found[name] = Path(shutil.copytree(project, project.with_name(f"changed-{name}")))
        shutil.rmtree(found[name] / ".enarx")
        content = (found[name] / file).read_bytes()
        assert content.count(before) == 1
        (found[name] / file).write_bytes(content.replace(before, after))
    return found


def test_an_echo_service_in_a_virtual_machine_from_up_to_the_end_of_qemu(
    machine_cli, echo_project, eventually, image, changed_image
) -> None:
    cli = machine_cli
    project = echo_project(extra=KEEPS)
    done = cli("up", "--json", "-C", str(project), timeout=BOOT)
    if done.returncode != 0:  # a guest that is emulated may be lost, less often than once in thirty
        done = cli("up", "--json", "-C", str(project), timeout=BOOT)
    assert done.returncode == 0, done.stderr
    service = Service(cli, project, json.loads(done.stdout))
    assert service.record["deployment"]["backend"] == "kvm"
    assert service.echoes()
    assert service.echoes(os.urandom(300_000))

    expected = attested(cli, project)
    verify = ("verify", "--json", f"localhost:{service.port}", "--accept", "kvm", "--reference-values")
    verified = cli(*verify, str(project.parent / "echo.json"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert "kvm" in report["from_whom"]
    assert "without hardware protection" in report["from_whom"]
    assert {"kvm.package", "kvm.image"} <= {check["id"] for check in report["checks"]}
    refused = cli("verify", "--json", f"localhost:{service.port}", "--accept", "nil")
    assert refused.returncode != 0
    eventually(
        lambda: "echo: listening" in cli("logs", service.id, "--stream", "stdout").stdout, "what it wrote is logged"
    )
    assert "kvm: tcg:" in cli("logs", service.id).stdout

    # The Keep was handed compiled code, which it would not take if its digest were not on its command line.
    modules = Path(cli.environment["ENARX_DEPLOY_CACHE_DIR"], "guest-modules")
    made = [measurement.sha256(path.read_bytes()) for path in modules.glob(f"*/{_wasm_digest(project)}.cwasm")]
    assert expected["measurements"]["code"] in made
    assert expected["measurements"]["image as built"] == image.digest
    assert expected["measurements"]["cmdline"] != image.record.cmdline.sha256

    # One byte of the workload, of the manifest, of the image, of the command line: each is found out by its digest.
    for name, changed in changed_projects(project).items():
        values = attested(cli, changed)
        refused = cli(*verify, str(project.parent / f"{changed.name}.json"))
        assert refused.returncode == 3, name
        assert f"kvm.package: {expected['package']}; expected: {values['package']}" in refused.stderr
        accept_alone(cli, values)
        assert cli("steward", "--reload").returncode == 0
        refused = cli("renew", service.id)
        assert refused.returncode == 3, name
        assert f"kvm.package: {expected['package']}; expected: {values['package']}" in refused.stderr
    for part in ("kernel", "cmdline"):
        values = attested(cli, project, "--image", str(changed_image(part)))
        refused = cli(*verify, str(project.parent / "echo.json"))
        assert refused.returncode == 3, part
        images = (expected["measurements"]["image"], values["measurements"]["image"])
        assert f"kvm.image: {images[0]}; expected: {images[1]}" in refused.stderr

    qemu = service.keep_pid
    if os.geteuid() == 0:
        assert Path(f"/proc/{qemu}").stat().st_uid in own_user.NUMBERS
    assert "Seccomp:\t2" in Path(f"/proc/{qemu}/status").read_text()
    os.kill(qemu, signal.SIGKILL)
    eventually(lambda: service.status()["state"] == "failed", "the end of the Keep is noted")
    assert "QEMU was ended by SIGKILL" in json.dumps(service.status())
    assert not Path(f"/proc/{qemu}").exists()


@pytest.mark.parametrize("part", ["kernel", "cmdline"])
def test_a_keep_that_booted_an_image_with_one_byte_changed_gets_no_certificate(
    machine_cli, echo_project, changed_image, part
) -> None:
    """The Steward accepts the image of this version with this package, as `attest` says, and says what it got."""
    cli = machine_cli
    assert cli("steward", "--init").returncode == 0
    project = echo_project(extra=KEEPS)
    expected = attested(cli, project)
    accept_alone(cli, expected)
    folder = changed_image(part)
    refused = cli("up", "-C", str(project), "--image", str(folder), timeout=BOOT)
    if "kvm.image" not in refused.stderr:  # as above
        refused = cli("up", "-C", str(project), "--image", str(folder), timeout=BOOT)
    assert refused.returncode == 3, refused.stderr
    booted = attested(cli, project, "--image", str(folder))["measurements"]["image"]
    assert f"kvm.image: {booted}; expected: {expected['measurements']['image']}" in refused.stderr
    assert f"{ASKED} asks for it; it is emulated (TCG)" in refused.stderr


def _wasm_digest(project: Path) -> str:
    return measurement.sha256((project / "main.wasm").read_bytes()).removeprefix("sha256:")
