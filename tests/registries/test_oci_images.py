"""Images that are made of layers, in a real registry, on top of nothing and of another image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.registries.conftest import Server

from enarx_deploy.errors import NotPublished, PackageError, UsageError
from enarx_deploy.protocols import silent
from enarx_registries import oci_images

IMAGE = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Tar:
    """A layer of these bytes."""

    content: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def size(self) -> int:
        return len(self.content)

    def chunks(self) -> Iterator[bytes]:
        yield self.content


def pushed(registry: Server, repository: str, layers: list[Tar], base: str = "", **configuration: object) -> str:
    return oci_images.push(f"oci+http://{registry.host}/{repository}", layers, configuration, base, silent)


def manifest_of(registry: Server, reference: str) -> dict:
    repository, _, digest = reference.partition("/")[2].partition("@")
    return registry.get(f"{repository}/manifests/{digest}", IMAGE).json()


def config_of(registry: Server, reference: str) -> dict:
    digest = manifest_of(registry, reference)["config"]["digest"]
    repository = reference.partition("/")[2].partition("@")[0]
    return registry.get(f"{repository}/blobs/{digest}").json()


def test_an_image_is_named_by_its_digest_as_a_runtime_pulls_it(plain_registry):
    reference = pushed(plain_registry, "images/one", [Tar(b"one")], os="linux", config={"Entrypoint": ["/one"]})
    assert reference.startswith(f"{plain_registry.host}/images/one@sha256:")
    config = config_of(plain_registry, reference)
    assert config["rootfs"]["diff_ids"] == [Tar(b"one").digest]
    assert config["config"]["Entrypoint"] == ["/one"]


def test_the_same_image_has_the_same_digest(plain_registry):
    first = pushed(plain_registry, "images/same", [Tar(b"a"), Tar(b"b")], os="linux")
    assert pushed(plain_registry, "images/same", [Tar(b"a"), Tar(b"b")], os="linux") == first
    assert pushed(plain_registry, "images/same", [Tar(b"b"), Tar(b"a")], os="linux") != first


def test_layers_and_settings_of_the_base_lie_below(plain_registry):
    below = {"os": "linux", "config": {"Env": ["PATH=/bin"], "User": "root"}, "history": [{"created_by": "somebody"}]}
    base = pushed(plain_registry, "images/base", [Tar(b"python")], **below)
    reference = pushed(
        plain_registry, "images/above", [Tar(b"package")], f"oci+http://{base}", config={"User": "65532"}
    )
    config = config_of(plain_registry, reference)
    assert config["rootfs"]["diff_ids"] == [Tar(b"python").digest, Tar(b"package").digest]
    assert config["config"] == {"Env": ["PATH=/bin"], "User": "65532"}
    assert "history" not in config
    digests = [layer["digest"] for layer in manifest_of(plain_registry, reference)["layers"]]
    assert digests == [Tar(b"python").digest, Tar(b"package").digest]
    assert plain_registry.get(f"images/above/blobs/{Tar(b'python').digest}").content == b"python"


def test_a_base_that_is_named_by_a_tag_is_refused(plain_registry):
    with pytest.raises(UsageError, match="is not named by its digest"):
        pushed(plain_registry, "images/above", [], f"oci+http://{plain_registry.host}/images/base:1")


def test_a_base_that_is_not_there_is_told(plain_registry):
    with pytest.raises(NotPublished):
        pushed(plain_registry, "images/above", [], f"oci+http://{plain_registry.host}/images/base@sha256:{'0' * 64}")


def test_a_base_that_is_a_wasm_artifact_is_refused(plain_registry, tmp_path):
    from tests.registries.conftest import make_package

    from enarx_registries.oci import Oci

    package = make_package(tmp_path / "package", {})
    Oci().publish(package, f"oci+http://{plain_registry.host}/images/wasm:1.0.0")
    answer = plain_registry.get("images/wasm/manifests/1.0.0", IMAGE)
    digest = answer.headers["docker-content-digest"]
    with pytest.raises(PackageError, match=r"is no image, but application/vnd\.wasm"):
        pushed(plain_registry, "images/above", [], f"oci+http://{plain_registry.host}/images/wasm@{digest}")
