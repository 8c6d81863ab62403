"""What other tools make of a published package: wash, oras, skopeo and containerd pull it, cosign checks the signer."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Program
from tests.registries import peers
from tests.registries.conftest import MODULE, PASSWORD, USER, Server, log_in, make_package

from enarx_deploy.models import Package
from enarx_deploy.protocols import Attachment
from enarx_registries.oci import Oci

SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b'{"bomFormat":"CycloneDX"}')
PREDICATES = {"slsaprovenance1": "https://slsa.dev/provenance/v1", "cyclonedx": "https://cyclonedx.org/bom"}
PASSPHRASE = "correct horse"


def run(*words: object, **environment: str) -> str:
    ended = subprocess.run(
        [str(word) for word in words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("tree"), {"assets/model": b"weights"})


@pytest.fixture(scope="module")
def published(plain_registry: Server, package: Package) -> str:
    """HOST/REPOSITORY, where 1.0.0 is the package."""
    Oci().publish(package, plain_registry.reference("peers/echo"), [SBOM], created=1_700_000_000)
    return f"{plain_registry.host}/peers/echo"


def test_wash_pulls_the_module(published: str, tmp_path: Path) -> None:
    wash = peers.of_pypi("wash")
    run(wash, "oci", "pull", "--insecure", f"{published}:1.0.0", tmp_path / "pulled.wasm", HOME=str(tmp_path))
    assert (tmp_path / "pulled.wasm").read_bytes() == MODULE


def test_oras_pulls_the_module_and_finds_what_refers_to_it(published: str, tmp_path: Path) -> None:
    oras = peers.of_debian("oras", "oras")
    run(oras, "pull", "--plain-http", f"{published}:1.0.0", "-o", tmp_path)
    assert (tmp_path / "main.wasm").read_bytes() == MODULE
    found = run(oras, "discover", "--plain-http", "--format", "json", f"{published}:1.0.0")
    assert {SBOM.media_type, "application/vnd.enarx.config.v1+toml"} <= types_in(json.loads(found))


def types_in(found: object) -> set[str]:
    """Every artifactType in a JSON document, whatever its form: it differs between versions of oras."""
    if isinstance(found, dict):
        own = {found["artifactType"]} if isinstance(found.get("artifactType"), str) else set()
        return own.union(*map(types_in, found.values()))
    return set().union(*map(types_in, found)) if isinstance(found, list) else set()


def test_oras_attaches_what_we_list(published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oras = peers.of_debian("oras", "oras")
    (tmp_path / "more.json").write_text('{"spdxVersion":"SPDX-2.3"}')
    monkeypatch.chdir(tmp_path)
    run(oras, "attach", "--plain-http", "--artifact-type", "application/spdx+json", f"{published}:1.0.0", "more.json")
    contents = [one.content for one in Oci().attachments(f"oci://{published}:1.0.0") if one.kind == "sbom"]
    assert sorted(contents) == [SBOM.content, b'{"spdxVersion":"SPDX-2.3"}']


def test_skopeo_copies_the_artifact_as_it_is(published: str, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed: apt-get install skopeo")
    source = f"docker://{published}:1.0.0"
    run(skopeo, "copy", "--src-tls-verify=false", "--preserve-digests", source, f"oci:{tmp_path}/copy:1.0.0")
    index = json.loads((tmp_path / "copy/index.json").read_text())
    manifest = Oci().resolve(f"oci://{published}:1.0.0").details["manifest"]
    assert [entry["digest"] for entry in index["manifests"]] == [manifest]


def test_skopeo_with_a_login_of_podman_copies_the_image(
    locked_registry: Server, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed: apt-get install skopeo")
    monkeypatch.setenv("SSL_CERT_FILE", locked_registry.root)
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path / "docker", locked_registry.host)))
    Oci().publish(package, locked_registry.reference("peers/echo"))
    source = f"docker://{locked_registry.host}/peers/echo:1.0.0-oci"
    run(skopeo, "copy", "--src-creds", f"{USER}:{PASSWORD}", source, f"oci:{tmp_path}/copy:1")
    layers = json.loads(manifest_in(tmp_path / "copy"))["layers"]
    names = [name for layer in layers for name in names_in(tmp_path / "copy/blobs/sha256" / layer["digest"][7:])]
    assert names == ["main.wasm", "Enarx.toml", "assets/model"]


def manifest_in(layout: Path) -> str:
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    return (layout / "blobs/sha256" / digest[7:]).read_text()


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[object]]:
    """A containerd of its own; the words that begin a command of `ctr`."""
    tmp_path = tmp_path_factory.mktemp("containerd")
    if os.geteuid() != 0:
        pytest.skip("containerd wants to be root")
    daemon, ctr = peers.of_debian("containerd", "containerd"), peers.of_debian("containerd", "ctr")
    socket = tmp_path / "containerd.sock"
    (tmp_path / "config.toml").write_text(
        f'version = 2\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([daemon, "-c", tmp_path / "config.toml"], stdout=log, stderr=log)
    try:
        for _ in range(300):
            if socket.exists():
                break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield [ctr, "-a", socket]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
        process.kill()


@pytest.mark.parametrize("tag", ["1.0.0", "1.0.0-oci"])
def test_containerd_pulls_the_artifact_and_the_image(published: str, containerd: list[object], tag: str) -> None:
    platform = ["--platform", "wasi/wasm"] if tag.endswith("-oci") else []
    run(*containerd, "content", "fetch", "--plain-http", *platform, f"{published}:{tag}")
    assert f"{published}:{tag}" in run(*containerd, "images", "ls", "-q")


def test_cosign_checks_who_signed_the_artifact(plain_registry: Server, enarx_deploy: Program, tmp_path: Path) -> None:
    cosign = peers.of_debian("cosign", "cosign")
    (enarx_deploy.directory / "main.wat").write_text('(module (memory (export "memory") 1) (func (export "_start")))')
    (enarx_deploy.directory / "Enarx.toml").write_text("")
    protected = ["--passphrase-file", str(tmp_path / "passphrase")]
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    (tmp_path / "passphrase").chmod(0o600)
    named = plain_registry.reference("signed/echo")

    def publish(key: str) -> None:
        ended = enarx_deploy("publish", named, "--sign", key, *protected)
        assert ended.returncode == 0, ended.stderr

    def verify(key: str) -> None:
        words = ["verify", "--insecure-ignore-tlog", "--allow-insecure-registry", named.removeprefix("oci://")]
        run(cosign, *words, "--key", enarx_deploy.directory / f"{key}.pub", HOME=str(tmp_path))

    def attestation(key: str, kind: str) -> dict[str, Any]:
        """The statement that cosign believes."""
        words = ["verify-attestation", "--insecure-ignore-tlog", "--allow-insecure-registry", "--type", kind]
        public = enarx_deploy.directory / f"{key}.pub"
        told = run(cosign, *words, "--key", public, named.removeprefix("oci://"), HOME=str(tmp_path))
        return json.loads(base64.b64decode(json.loads(told.splitlines()[0])["payload"]))

    for key in ("p256", "ed25519"):
        made = enarx_deploy("key", "generate", key, "--algorithm", key, *protected)
        assert made.returncode == 0, made.stderr
    publish("p256")
    verify("p256")
    with pytest.raises(AssertionError, match="no matching signatures"):
        verify("ed25519")
    publish("ed25519")
    for key in ("p256", "ed25519"):
        verify(key)
        for kind, predicate in PREDICATES.items():
            attested = attestation(key, kind)
            assert attested["predicateType"] == predicate
            (subject,) = attested["subject"]
            assert f"sha256:{subject['digest']['sha256']}" == Oci().resolve(named).details["manifest"]
    assert attestation("p256", "slsaprovenance1")["predicate"]["buildDefinition"]["externalParameters"]
    with pytest.raises(AssertionError, match="none of the attestations"):
        attestation("p256", "spdx")
    made = enarx_deploy("key", "generate", "stranger", "--algorithm", "p256", *protected)
    with pytest.raises(AssertionError, match="no matching attestations"):
        attestation("stranger", "cyclonedx")
