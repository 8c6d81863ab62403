"""An image that a user names: by option, environment variable or manifest, for the backends that boot one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from tests import qemu, small_image

MODULE = '(module (memory (export "memory") 1) (func (export "_start")))'


@pytest.fixture
def project(enarx_deploy) -> Path:
    """One that can be packaged, and a QEMU that would start it."""
    enarx_deploy.environment["PATH"] = f"{qemu.program().parent}:{enarx_deploy.environment['PATH']}"
    folder = Path(enarx_deploy.directory)
    (folder / "main.wat").write_text(MODULE)
    return folder


def image(folder: Path, kernel: bytes = b"kernel") -> str:
    """An image of three small parts, which boots nothing; answers its digest."""
    folder.mkdir()
    record = small_image.write(folder, kernel=kernel)
    (folder / "image.json").write_bytes(msgspec.json.encode(record))
    return record.digest


def test_it_is_measured_whoever_names_it(enarx_deploy, project) -> None:
    """A path in the manifest is relative to the project; what is nearer to the user goes before it."""
    digests = {name: image(project / name, name.encode()) for name in ("manifests", "variables", "options")}
    (project / "Enarx.toml").write_text('[deploy.default]\nbackend = "kvm"\nimage = "manifests"\n')

    def attested(*words: str, **environment: str) -> str:
        done = enarx_deploy("attest", "--json", "-C", str(project), *words, env=environment, cwd=project.parent)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["measurements"]["image as built"])

    assert attested() == digests["manifests"]
    variable = {"ENARX_DEPLOY_IMAGE": str(project / "variables")}
    assert attested(**variable) == digests["variables"]
    assert attested("--image", str(project / "options"), **variable) == digests["options"]


def test_another_image_in_the_same_place_is_measured_anew(enarx_deploy, project) -> None:
    seen = []
    for kernel in (b"one", b"another"):
        digest = image(project / f"of-{kernel.decode()}", kernel)
        (project / "image").unlink(missing_ok=True)
        (project / "image").symlink_to(f"of-{kernel.decode()}")
        done = enarx_deploy("attest", "--json", "--backend", "kvm", "--image", "image")
        seen.append((json.loads(done.stdout)["measurements"]["image as built"], digest))
    assert all(measured == made for measured, made in seen)


def test_platform_looks_at_it(enarx_deploy, project) -> None:
    digest = image(project / "image")
    shown = enarx_deploy("platform", "kvm", "--image", "image", "--json").stdout
    (check,) = [check for check in json.loads(shown)[0]["checks"] if check["name"] == "image"]
    assert (check["ok"], check["detail"]) == (True, f"{digest} is {project / 'image'}")
    (check,) = [
        check
        for check in json.loads(enarx_deploy("platform", "kvm", "--image", "nowhere", "--json").stdout)[0]["checks"]
        if check["name"] == "image"
    ]
    assert not check["ok"]
    assert check["hint"] == "`enarx-deploy image build`"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--backend", "nil"], "a Keep of kind nil boots no image", id="a-backend-without-one"),
        pytest.param(["--target", "kubernetes"], "target 'kubernetes' does not take it along", id="another-machine"),
    ],
)
def test_where_it_means_nothing_it_is_refused(enarx_deploy, project, words, told) -> None:
    refused = enarx_deploy("attest", "--image", "image", *words)
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr
    assert "leave out --image" in refused.stderr
