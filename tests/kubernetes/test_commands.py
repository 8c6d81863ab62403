"""What users type that needs no cluster."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from enarx_deploy.errors import UsageError
from enarx_deploy.manifest import parse
from enarx_deploy.models import Package
from enarx_deploy.project import Project
from enarx_kubernetes import known
from enarx_kubernetes.target import Kubernetes

MANIFEST = """
steward = "https://steward.example.org"
[[files]]
kind = "listen"
name = "web"
prot = "tls"
port = 8443
[deploy.default]
target = "kubernetes"
backend = "nil"
"""


def test_a_text_of_a_cluster_is_explained(enarx_deploy):
    said = 'FailedCreatePodSandBox: no runtime for "spin" is configured'
    ended = enarx_deploy("kubernetes", "explain", said)
    assert "the node's containerd knows no runtime 'spin'" in ended.stdout
    record = json.loads(enarx_deploy("kubernetes", "explain", "--json", said).stdout)
    assert record["fault"] == "no-runtime"
    assert record["fix"]


def test_an_event_is_read_from_standard_input(enarx_deploy):
    ended = subprocess.run(
        [sys.executable, "-m", "enarx_deploy", "kubernetes", "explain"],
        input="Events:\n  Warning  Failed  2s  kubelet  Error: no command specified\n",
        env=enarx_deploy._environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "the image says no command" in ended.stdout


def test_a_text_that_says_nothing_known_is_no_success(enarx_deploy):
    ended = enarx_deploy("kubernetes", "explain", "all is well")
    assert ended.returncode == 2
    assert "nothing is known of that" in ended.stderr


def test_a_target_without_files_has_nothing_to_render(enarx_deploy, shelf):
    ended = enarx_deploy("deploy", "--render", "out")
    assert ended.returncode == 2
    assert "the target 'shelf' has no files" in ended.stderr
    assert not (enarx_deploy.directory / "out").exists()


def project(enarx_deploy, text: str = MANIFEST) -> None:
    (enarx_deploy.directory / "Enarx.toml").write_text(text)
    (enarx_deploy.directory / "main.wat").write_text('(module (memory (export "memory") 1) (func (export "_start")))')


def test_where_images_go_has_to_be_said(enarx_deploy):
    project(enarx_deploy)
    ended = enarx_deploy("deploy", "--render", "out")
    assert ended.returncode == 2
    assert "where images are pushed is not said" in ended.stderr
    assert "repository = " in ended.stderr


def test_a_manifest_without_a_steward_is_no_matter_for_a_cluster(enarx_deploy):
    project(enarx_deploy, MANIFEST.replace('steward = "https://steward.example.org"', ""))
    ended = enarx_deploy("deploy", "--render", "out", "--set", "deploy.default.kubernetes.repository=oci://r.example/x")
    assert ended.returncode == 2
    assert "pods cannot reach the one of this machine" in ended.stderr
    assert "kubernetes steward" in ended.stderr


def test_another_issuer_than_a_steward_is_no_matter_for_a_cluster(enarx_deploy):
    project(enarx_deploy, f'{MANIFEST}\n[attest]\nissuer = "selfsigned"\n')
    ended = enarx_deploy("deploy", "--render", "out", "--set", "deploy.default.kubernetes.repository=oci://r.example/x")
    assert ended.returncode == 2
    assert "gets its certificate from a Steward, and [attest] issuer is 'selfsigned'" in ended.stderr


def test_a_key_that_the_table_does_not_have_is_told_with_its_place(enarx_deploy):
    project(enarx_deploy, f'{MANIFEST}\n[deploy.default.kubernetes]\nnamspace = "shop"\n')
    ended = enarx_deploy("check")
    assert ended.returncode == 2
    assert "namspace" in ended.stderr
    assert "Enarx.toml:13:1" in ended.stderr


def test_render_with_an_image_that_is_there_asks_nobody(enarx_deploy):
    project(enarx_deploy)
    root = enarx_deploy.directory / "root.pem"
    root.write_text("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")
    image = f"registry.example/shop@sha256:{'a' * 64}"
    words = [f"deploy.default.kubernetes.image={image}", "deploy.default.kubernetes.steward_root=root.pem"]
    sets = [word for one in words for word in ("--set", one)]
    ended = enarx_deploy("deploy", "--json", "--render", "out", *sets)
    assert ended.returncode == 0, ended.stderr
    files = json.loads(ended.stdout)["files"]
    assert sorted(path.rpartition("/")[2] for path in files) == sorted(
        path.name for path in (enarx_deploy.directory / "out").iterdir()
    )
    first = (enarx_deploy.directory / "out/deployment.yaml").read_bytes()
    assert image.encode() in first
    assert enarx_deploy("deploy", "--render", "out", *sets).returncode == 0
    assert (enarx_deploy.directory / "out/deployment.yaml").read_bytes() == first


class Snp:
    """All of a backend that is asked for here."""

    name = "snp"


def test_the_backend_snp_is_rendered_and_not_started(tmp_path):
    shop = Project(tmp_path, parse(MANIFEST.encode(), "Enarx.toml").manifest, None, b"")
    package = Package(digest="", root="", size=0, files=[])
    with pytest.raises(UsageError, match="gives no evidence of kind 'snp' yet") as caught:
        Kubernetes().check(shop, package, Snp())  # type: ignore[arg-type]
    assert "--render" in caught.value.hint


def test_without_a_deployment_no_cluster_is_asked(enarx_deploy):
    ended = enarx_deploy("keeps", env={"KUBECONFIG": "/nonexistent"})
    assert (ended.returncode, ended.stdout) == (0, "no Keeps\n")


def test_deployments_are_known_by_name_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    shop = known.Known("My Shop", "prod", "/kubeconfig", "shop", "my-shop-1a2b3c")
    known.remember(shop)
    known.remember(shop)
    assert known.named("My Shop") == known.named("my-shop-1a2b3c") == shop
    known.forget(shop)
    known.forget(shop)
    assert list(known.everything()) == []


def test_a_policy_is_read_before_an_image_is_built(enarx_deploy):
    (enarx_deploy.directory / "steward.toml").write_text('[ca]\ntrust_domain = "example.org"\n')
    words = ("--render", "out", "--url", "https://steward.example.org", "--repository", "oci://r.example/steward")
    ended = enarx_deploy("kubernetes", "steward", "--policy", "steward.toml", *words)
    assert ended.returncode == 2
    assert "the policy" in ended.stderr
    assert "accepts nothing" in ended.stderr
    assert not (enarx_deploy.directory / "out").exists()
