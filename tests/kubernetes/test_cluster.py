"""A project in a real cluster: an API server, its controllers, and a node that runs the pods."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from lightkube.codecs import load_all_yaml
from tests.kubernetes.conftest import MISSING_HANDLER, Cluster, Shop, eventually
from tests.kubernetes.engine import CONTEXT
from tests.registries.conftest import make_package
from tests.steward.conftest import running_cluster

from enarx_kubernetes.cluster import open_cluster
from enarx_registries.oci import Oci

pytestmark = pytest.mark.timeout(1200)  # where Kubernetes is still being built


@pytest.fixture
def pod(shop: Shop, cluster: Cluster) -> Any:
    """The pod of the deployment, as the project has it: it serves, and is alone."""
    shop.up()
    eventually(lambda: len(cluster.pods("shop")) == 1, "one pod is there")
    return cluster.pods("shop")[0]


def test_which_cluster_has_to_be_said(shop: Shop):
    ended = shop("up")
    assert ended.returncode == 2
    assert "which cluster is not said" in ended.stderr
    assert "add --context NAME" in ended.stderr
    assert CONTEXT in ended.stderr
    wrong = shop("up", "--context", "prod")
    assert "no context 'prod' in the kubeconfig" in wrong.stderr


def test_up_ends_with_a_pod_that_serves_under_the_stewards_root(shop: Shop, cluster: Cluster):
    ended = shop("up", "--context", CONTEXT)
    assert ended.returncode == 0, ended.stderr + cluster.engine.last_words()
    assert "1 of 1 replicas serve" in ended.stderr
    (pod,) = cluster.pods("shop")
    assert shop.greeting(pod) == b"hello\n"
    (keep,) = shop.json("keeps")
    assert (keep["id"], keep["name"], keep["state"]) == (pod["metadata"]["name"], "shop", "running")
    assert keep["endpoints"] == [{"name": "echo", "host": "shop.default.svc", "port": 8443, "prot": "tls"}]
    (seen,) = shop.json("top")
    assert seen["status"]["id"] == keep["id"]
    assert seen["usage"]["connections"] >= 1
    assert seen["usage"]["memory"] > 1 << 20
    assert seen["usage"]["cpu_seconds"] > 0


def test_the_pod_is_as_bare_as_its_manifest_says(pod: Any, cluster: Cluster):
    assert pod["spec"]["securityContext"]["runAsUser"] == 65532
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["work", "tmp", "configuration"]
    status = cluster.engine.ask("/api/v1/namespaces/default/secrets").json()
    mounted = {one["metadata"]["name"] for one in status["items"]}
    assert not mounted & {volume.get("secret", {}).get("secretName") for volume in pod["spec"]["volumes"]}


def test_up_again_changes_nothing_in_the_cluster(pod: Any, shop: Shop, cluster: Cluster):
    before = cluster.deployment("shop")["metadata"]
    again = shop.up("--force")
    after = cluster.deployment("shop")["metadata"]
    assert after["generation"] == before["generation"]
    assert again["deployment"]["id"] == pod["metadata"]["name"]


@pytest.mark.usefixtures("pod")
def test_logs_have_the_host_process_among_them(shop: Shop):
    whole = shop("logs", "shop")
    assert "enarx-deploy: certificate {" in whole.stdout
    told = shop("logs", "shop", "--stream", "stdout")
    assert told.returncode == 2
    assert "does not tell standard output from standard error" in told.stderr


@pytest.mark.usefixtures("pod")
def test_scale_ends_when_so_many_serve(shop: Shop, cluster: Cluster):
    keeps = shop.json("scale", "shop", "2")
    assert len(keeps) == 2
    assert [shop.greeting(pod) for pod in cluster.pods("shop")] == [b"hello\n"] * 2
    assert len(shop.json("scale", "shop", "1")) == 1


def test_a_version_that_does_not_start_is_taken_back_and_explained(pod: Any, shop: Shop, cluster: Cluster):
    runtime_class = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": MISSING_HANDLER}
    runtime_class["metadata"] = {"name": MISSING_HANDLER}  # type: ignore[assignment]
    cluster.engine.ask("/apis/node.k8s.io/v1/runtimeclasses", "POST", runtime_class)
    ended = shop("up", "--context", CONTEXT, "--set", f"deploy.default.kubernetes.runtime_class={MISSING_HANDLER}")
    assert ended.returncode == 1
    assert f"the node's containerd knows no runtime '{MISSING_HANDLER}'" in ended.stderr
    assert "the version before serves on" in ended.stderr
    assert "install it on every node" in ended.stderr
    assert shop.greeting(pod) == b"hello\n"
    eventually(lambda: len(cluster.pods("shop")) == 1, "the pod that could not start goes")


@pytest.mark.usefixtures("pod")
def test_a_wasm_artifact_in_the_place_of_an_image_is_explained(shop: Shop, cluster: Cluster, tmp_path: Path):
    """The containerd of Debian 12 is too old for one, which it says in other words."""
    Oci().publish(make_package(tmp_path / "package", {}), f"oci+http://{cluster.registry.host}/shop/artifact:1.0.0")
    answer = cluster.registry.get("shop/artifact/manifests/1.0.0", "application/vnd.oci.image.manifest.v1+json")
    image = f"{cluster.registry.host}/shop/artifact@{answer.headers['docker-content-digest']}"
    ended = shop("up", "--context", CONTEXT, "--set", f"deploy.default.kubernetes.image={image}")
    assert ended.returncode == 1
    assert "the image is a Wasm artifact, and the node's containerd is too old to unpack one" in ended.stderr
    assert "the version before serves on" in ended.stderr


@pytest.mark.usefixtures("pod")
def test_a_runtime_class_that_the_cluster_does_not_have_is_told_before_anything_is_applied(
    shop: Shop, cluster: Cluster
):
    before = cluster.deployment("shop")["metadata"]["generation"]
    ended = shop("up", "--context", CONTEXT, "--set", "deploy.default.kubernetes.runtime_class=kata-qemu-snp")
    assert ended.returncode == 1
    assert "the cluster has no RuntimeClass 'kata-qemu-snp'" in ended.stderr
    assert cluster.deployment("shop")["metadata"]["generation"] == before


def test_a_quota_that_is_used_up_is_explained(pod: Any, shop: Shop, cluster: Cluster):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    quota["spec"] = {"hard": {"pods": "1"}}  # type: ignore[assignment]
    quotas = "/api/v1/namespaces/default/resourcequotas"
    cluster.engine.ask(quotas, "POST", quota)
    eventually(lambda: cluster.get(f"{quotas}/small").get("status", {}).get("used"), "the quota is counted")
    try:
        ended = shop("up", "--context", CONTEXT, "--set", "deploy.default.kubernetes.cpu=11m")
        assert ended.returncode == 1
        assert "the namespace's quota small is used up" in ended.stderr
    finally:
        cluster.engine.ask(f"{quotas}/small", "DELETE")
    assert shop.greeting(pod) == b"hello\n"


@pytest.mark.usefixtures("pod")
def test_a_new_package_is_a_version_that_can_be_taken_back(shop: Shop, cluster: Cluster):
    first = shop.json("history", "shop")[-1]
    changed = shop.up("--set", "env.GREETING=again")
    assert changed["deployment"]["package"] != first["package"]
    versions = shop.json("history", "shop")
    assert (versions[-1]["state"], versions[-1]["package"]) == ("serving", changed["deployment"]["package"])
    back = shop.json("rollback", "shop")
    assert back["package"] == first["package"]
    assert back["number"] > versions[-1]["number"]
    (pod,) = cluster.pods("shop")
    assert pod["metadata"]["annotations"]["enarx-deploy.dev/package"] == first["package"]
    assert shop.greeting(pod) == b"hello\n"


@pytest.mark.usefixtures("pod")
def test_what_somebody_else_manages_is_not_taken_from_them(shop: Shop, cluster: Cluster):
    path = "/apis/apps/v1/namespaces/default/deployments/shop?fieldManager=somebody-else"
    patch = {"spec": {"revisionHistoryLimit": 3}}
    cluster.engine.ask(path, "PATCH", patch)
    try:
        ended = shop("up", "--context", CONTEXT, "--set", "deploy.default.kubernetes.revisions=7")
        assert ended.returncode == 1
        assert "somebody-else" in ended.stderr
        assert "--force-conflicts" in ended.stderr
    finally:
        shop("stop", "shop", "--grace", "0")


def test_an_object_of_somebody_elses_is_neither_changed_nor_removed(shop: Shop, cluster: Cluster):
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "theirs"}, "spec": {"ports": [{"port": 80}]}}
    cluster.engine.ask("/api/v1/namespaces/default/services", "POST", theirs)
    before = cluster.get("/api/v1/namespaces/default/services/theirs")
    ended = shop("up", "--context", CONTEXT, "--set", "deploy.default.name=theirs")
    assert ended.returncode == 1
    assert "Service theirs is in namespace default already, and is somebody else's" in ended.stderr
    assert cluster.get("/api/v1/namespaces/default/services/theirs") == before
    assert (
        cluster.get("/apis/apps/v1/namespaces/default/deployments?fieldSelector=metadata.name%3Dtheirs")["items"] == []
    )


@pytest.mark.usefixtures("pod")
def test_stop_ends_the_deployment_and_all_that_belongs_to_it(shop: Shop, cluster: Cluster):
    ended = shop("stop", "shop", "--grace", "0")
    assert ended.returncode == 0, ended.stderr
    assert shop.json("keeps") == []
    eventually(lambda: not cluster.pods("shop"), "the pods go")
    for kind in ("configmaps", "services"):
        found = cluster.get(f"/api/v1/namespaces/default/{kind}?labelSelector=app.kubernetes.io/instance%3Dshop")
        assert found["items"] == []


def test_render_asks_no_cluster_and_writes_what_kubectl_takes(shop: Shop, cluster: Cluster):
    ended = shop("deploy", "--render", "gitops", cwd=shop.program.directory)
    assert ended.returncode == 0, ended.stderr
    names = sorted(path.name for path in (shop.program.directory / "gitops").iterdir())
    assert "kustomization.yaml" in names
    assert "deployment.yaml" in names


PASSWORD = "of-the-tests"
OWN_NAMESPACE = "enarx-steward"


def test_the_rendered_stewards_serve_with_one_root_over_a_real_database(shop: Shop, cluster: Cluster, tmp_path: Path):
    rendered = tmp_path / "set"
    url = f"https://steward.{OWN_NAMESPACE}.svc"
    policy = tmp_path / "steward.toml"
    policy.write_text(re.sub('audience = ".*"', f'audience = "{url}"', (shop.steward / "steward.toml").read_text()))
    words = ("--url", url, "--policy", str(policy), "--repository", f"oci+http://{cluster.registry.host}/steward")
    rendering = shop.program.start("kubernetes", "steward", "--render", str(rendered), *words)  # which takes a while
    with running_cluster(cluster.engine.gateway) as database:
        _, told = rendering.communicate(timeout=300)
        assert rendering.returncode == 0, told
        database.sql(f"ALTER ROLE steward PASSWORD '{PASSWORD}'", "CREATE DATABASE log")
        make_secrets(cluster, shop.steward, f"postgresql://steward@{cluster.engine.gateway}/log?sslmode=disable")
        apply(cluster, rendered)
        selector = "labelSelector=app.kubernetes.io/instance%3Dsteward"
        pods = eventually(
            lambda: [
                pod
                for pod in cluster.get(f"/api/v1/namespaces/{OWN_NAMESPACE}/pods?{selector}")["items"]
                if any(
                    one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", [])
                )
            ][1:],
            "two Stewards are ready",
        )
        context = ssl.create_default_context(cafile=shop.steward / "root.pem")
        context.check_hostname = False  # asked by the pod's address, and named by the Service's
        info = httpx.get(f"https://{pods[0]['status']['podIP']}:8443/v1/info", verify=context, timeout=120).json()
        assert info["audience"] == url
        tables = database.sql("SELECT count(*) FROM issuance_log", database="log").stdout.strip()
        assert tables.isdigit()


def make_secrets(cluster: Cluster, state: Path, url: str) -> None:
    """What the README that is rendered has an operator make."""
    cluster.engine.ask("/api/v1/namespaces", "POST", {"metadata": {"name": OWN_NAMESPACE}})
    contents = {
        "steward-ca": {name: (state / name).read_bytes() for name in ("ca.key", "root.pem")},
        "steward-database": {"url": url.encode(), "password": PASSWORD.encode()},
    }
    for name, content in contents.items():
        data = {key: base64.b64encode(value).decode() for key, value in content.items()}
        made = cluster.engine.ask(
            f"/api/v1/namespaces/{OWN_NAMESPACE}/secrets", "POST", {"metadata": {"name": name}, "data": data}
        )
        assert made.status_code == httpx.codes.CREATED, made.text


def apply(cluster: Cluster, directory: Path) -> None:
    """As `kubectl apply --server-side -k` does: each file that the kustomization lists."""
    with open_cluster(CONTEXT, OWN_NAMESPACE, cluster.engine.kubeconfig) as opened:
        for file in sorted(directory.glob("*.yaml")):
            if file.name not in ("kustomization.yaml", "namespace.yaml"):
                for one in load_all_yaml(file.read_text()):
                    opened.apply(one)
