"""What users type that needs no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest
import yaml

from enarx_kubernetes import known

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


def test_a_stewards_root_that_is_not_there_is_told_before_an_image_is_built(enarx_deploy):
    project(enarx_deploy)
    words = [
        "deploy.default.kubernetes.repository=oci://127.0.0.1:1/x",
        "deploy.default.kubernetes.steward_root=nowhere",
    ]
    ended = enarx_deploy("deploy", "--render", "out", *(word for one in words for word in ("--set", one)))
    assert (ended.returncode, "steward_root: " in ended.stderr) == (2, True), ended.stderr
    assert "building the image" not in ended.stderr


WITH_IMAGE = (
    *("--set", f"deploy.default.kubernetes.image=registry.example/shop@sha256:{'a' * 64}"),
    *("--set", "deploy.default.kubernetes.steward_root=root.pem"),
)


@pytest.mark.parametrize(("backend", "field", "digits"), [("snp", "host_data", 64), ("tdx", "mrconfigids", 96)])
def test_a_pod_of_kata_is_rendered_where_no_such_hardware_is_with_what_the_policy_needs(
    enarx_deploy, backend, field, digits
):
    project(enarx_deploy)
    (enarx_deploy.directory / "root.pem").write_text("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")
    ended = enarx_deploy("deploy", "--render", "out", "--backend", backend, *WITH_IMAGE)
    assert ended.returncode == 0, ended.stderr
    out = enarx_deploy.directory / "out"
    section = tomllib.loads((out / "steward-policy.toml").read_text())[backend]
    deployment = yaml.safe_load((out / "deployment.yaml").read_bytes())
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert section["packages"] == [annotations["enarx-deploy.dev/package"]]
    assert section[field] == [annotations["enarx-deploy.dev/init-data-sha256"].ljust(digits, "0")]
    assert "steward-policy.toml" not in yaml.safe_load((out / "kustomization.yaml").read_bytes())["resources"]


def test_a_backend_that_no_pod_has_evidence_of_is_refused(enarx_deploy):
    project(enarx_deploy)
    ended = enarx_deploy("deploy", "--render", "out", "--backend", "kvm", *WITH_IMAGE)
    assert ended.returncode != 0
    assert "a pod gives no evidence of this kind" in ended.stderr
    assert "a cluster takes nil, snp, tdx" in ended.stderr


def test_without_a_backend_asked_for_a_cluster_gets_nil_whatever_this_machine_has(enarx_deploy):
    project(enarx_deploy, MANIFEST.replace('backend = "nil"\n', ""))
    (enarx_deploy.directory / "root.pem").write_text("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")
    ended = enarx_deploy("deploy", "--render", "out", *WITH_IMAGE)
    assert ended.returncode == 0, ended.stderr
    assert "no hardware protects this Keep" in ended.stderr
    assert not (enarx_deploy.directory / "out/steward-policy.toml").exists()


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
