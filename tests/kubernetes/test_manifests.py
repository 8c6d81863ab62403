"""What a deployment is in a cluster, as files: held to the published schemas, and to what no pod of ours may do."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import tomli_w
import yaml
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import UsageError
from enarx_deploy.manifest import parse
from enarx_kubernetes import desired, init_data, manifests, render, steward_files, stewards, yaml_form
from enarx_kubernetes.settings import Settings

VERSIONS = ("1.25", "1.37")
PACKAGE = f"sha256:{'b' * 64}"
IMAGE = f"registry.example/shop/echo@sha256:{'a' * 64}"
ROOT = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
MANIFEST = """
steward = "https://steward.example.org:8443"
[[files]]
kind = "stdout"
[[files]]
kind = "listen"
name = "web"
prot = "tls"
port = 443
[[files]]
kind = "connect"
host = "10.0.0.7"
name = "db"
prot = "tcp"
port = 5432
[network]
connect = ["api.example.org:443"]
[resources]
memory = "512 MiB"
filesystem = "64 MiB"
"""


def wanted(text: str = MANIFEST, backend: str = "nil", **given: Any) -> desired.Desired:
    settings = given.pop("settings", Settings())
    return desired.desired(
        parse(text.encode(), "Enarx.toml").manifest,
        settings,
        **{
            "name": "echo",
            "namespace": "shop",
            "image": IMAGE,
            "package": PACKAGE,
            "backend": backend,
            "steward_root": ROOT,
            **given,
        },
    )


def documents(one: desired.Desired) -> dict[str, Any]:
    files = render.files(manifests.objects(one))
    return {yaml.safe_load(text)["kind"]: yaml.safe_load(text) for text in files.values()}


@pytest.fixture(scope="module")
def echo() -> dict[str, Any]:
    return documents(wanted(replicas=2))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("backend", ["nil", "snp"])
def test_every_object_is_what_the_published_schemas_ask_for(version, backend):
    for document in documents(wanted(backend=backend, settings=Settings(max_replicas=9))).values():
        if document["kind"] != "Kustomization":
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_would_refuse_a_field_that_is_misspelt(echo):
    wrong = json.loads(json.dumps(echo["Deployment"]))
    wrong["spec"]["template"]["spec"]["runtimeClasName"] = "enarx"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_a_pod_meets_the_restricted_standard_and_more(echo):
    pod = echo["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "env" not in container
    assert "hostNetwork" not in pod
    assert container["image"] == IMAGE


@pytest.mark.parametrize("backend", ["snp", "tdx"])
def test_a_pod_that_is_attested_is_root_of_its_guest_with_its_attester_and_nothing_more(backend):
    pod = documents(wanted(backend=backend))["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (0, False)
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [one["hostPath"] for one in pod["volumes"] if "hostPath" in one] == [{"path": "/sys/kernel/config"}]
    assert {one["emptyDir"]["medium"] for one in pod["volumes"] if "emptyDir" in one} == {"Memory"}
    assert f"sha256:{hashlib.sha256(ROOT.encode()).hexdigest()}" in container["args"]


def test_a_guest_without_evidence_needs_neither_root_nor_attester():
    made = documents(wanted(settings=Settings(runtime_class="kata-qemu-snp")))["Deployment"]["spec"]["template"]["spec"]
    assert made["securityContext"]["runAsNonRoot"] is True
    assert not any("hostPath" in one for one in made["volumes"])


def test_memory_follows_from_resources(echo):
    (container,) = echo["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "832Mi"}  # 512 and 64 MiB, and 256 MiB for the host process


@pytest.mark.parametrize(
    ("backend", "runtime"), [("nil", None), ("snp", "kata-qemu-snp"), ("tdx", "kata-qemu-tdx"), ("sgx", "enarx")]
)
def test_the_runtime_class_follows_from_the_backend(backend, runtime):
    pod = documents(wanted(backend=backend))["Deployment"]["spec"]["template"]["spec"]
    assert pod.get("runtimeClassName") == runtime


def test_a_backend_without_a_runtime_class_is_refused_unless_one_is_named():
    with pytest.raises(UsageError, match="no RuntimeClass is known for backend 'oak'"):
        documents(wanted(backend="oak"))
    pod = documents(wanted(backend="oak", settings=Settings(runtime_class="oak-wood")))["Deployment"]
    assert pod["spec"]["template"]["spec"]["runtimeClassName"] == "oak-wood"


def test_a_guest_that_is_asked_for_by_its_runtime_class_carries_init_data_too():
    made = documents(wanted(settings=Settings(runtime_class="kata-qemu-snp")))["Deployment"]["spec"]["template"]
    assert made["spec"]["runtimeClassName"] == "kata-qemu-snp"
    assert init_data.ANNOTATION in made["metadata"]["annotations"]


def test_a_confidential_pod_carries_package_and_root_bound_to_its_evidence():
    template = documents(wanted(backend="snp"))["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    toml = gzip.decompress(base64.b64decode(template[init_data.ANNOTATION]))
    read = tomllib.loads(toml.decode())
    assert (read["version"], read["algorithm"]) == ("0.1.0", "sha256")
    assert tomllib.loads(read["data"]["enarx.toml"]) == {
        "package": PACKAGE,
        "steward": "https://steward.example.org:8443",
        "steward_root": ROOT,
    }
    assert template["enarx-deploy.dev/init-data-sha256"] == hashlib.sha256(toml).hexdigest()


def test_a_pod_of_the_backend_nil_claims_no_init_data(echo):
    assert init_data.ANNOTATION not in echo["Deployment"]["spec"]["template"]["metadata"]["annotations"]


def test_traffic_is_let_through_as_the_manifest_grants_it(echo):
    policy = echo["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": 443, "protocol": "TCP"}]}]
    assert {"ports": [{"port": 5432, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}]} in policy[
        "egress"
    ]
    assert {"ports": [{"port": 8443, "protocol": "TCP"}]} in policy["egress"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 5432, 8443}


def test_metrics_are_served_only_where_that_is_asked_for(echo):
    assert "--metrics-port" not in echo["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"]
    made = documents(wanted(settings=Settings(metrics_port=9464)))
    template = made["Deployment"]["spec"]["template"]
    assert template["spec"]["containers"][0]["args"][-2:] == ["--metrics-port", "9464"]
    assert template["metadata"]["annotations"]["enarx-deploy.dev/metrics-port"] == "9464"
    assert {"port": 9464, "protocol": "TCP"} in made["NetworkPolicy"]["spec"]["ingress"][0]["ports"]
    with pytest.raises(UsageError, match="is a port that the workload listens on"):
        documents(wanted(MANIFEST.replace("443\n", "9464\n"), settings=Settings(metrics_port=9464)))


def test_a_workload_that_connects_to_nothing_may_go_nowhere():
    text = '[[files]]\nkind = "listen"\nname = "web"\nprot = "tcp"\nport = 8080\n'
    policy = documents(wanted(text, steward_root=""))["NetworkPolicy"]["spec"]
    assert policy["egress"] == []


def test_a_port_that_takes_privileges_is_opened_by_a_safe_sysctl(echo):
    security = echo["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert security["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    higher = documents(wanted(MANIFEST.replace("443\n", "8443\n")))["Deployment"]
    assert "sysctls" not in higher["spec"]["template"]["spec"]["securityContext"]


def test_a_socket_that_takes_any_port_is_refused():
    with pytest.raises(UsageError, match="'web' takes any free port") as caught:
        wanted(MANIFEST.replace("port = 443", "port = 0"))
    assert "--set files.web.port" in caught.value.hint


def test_a_socket_that_nobody_outside_of_the_pod_reaches_is_refused():
    with pytest.raises(UsageError, match=r"listens on 127\.0\.0\.1, where nobody outside of its pod"):
        wanted(MANIFEST.replace("port = 443", 'port = 443\naddr = "127.0.0.1"'))


def test_a_service_says_what_is_spoken_on_its_ports(echo):
    annotations = echo["Service"]["metadata"]["annotations"]
    assert json.loads(annotations["enarx-deploy.dev/endpoints"]) == {"web": ["web", "tls"]}


def test_an_autoscaler_takes_over_the_count_of_replicas():
    made = documents(wanted(replicas=2, settings=Settings(max_replicas=6, cpu_target=50)))
    assert made["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2
    assert made["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 6
    assert "replicas" not in made["Deployment"]["spec"]
    assert "HorizontalPodAutoscaler" not in documents(wanted())
    with pytest.raises(UsageError, match="max_replicas = 1 is less than replicas = 2"):
        documents(wanted(replicas=2, settings=Settings(max_replicas=1)))


def test_pods_are_replaced_one_by_one_when_the_next_one_serves(echo):
    assert echo["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert echo["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_a_version_keeps_its_own_configuration():
    first, second = wanted(), wanted(package=f"sha256:{'c' * 64}")
    assert first.configuration != second.configuration
    assert documents(first)["ConfigMap"]["immutable"] is True


def test_rendering_again_changes_no_byte():
    assert render.files(manifests.objects(wanted())) == render.files(manifests.objects(wanted()))


def test_the_kustomization_lists_every_file():
    files = render.files(manifests.objects(wanted(settings=Settings(max_replicas=3))))
    listed = yaml.safe_load(files[render.KUSTOMIZATION])["resources"]
    assert sorted([*listed, render.KUSTOMIZATION]) == sorted(files)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=40), max_size=4))
def test_a_string_stays_a_string(values):
    assert yaml.safe_load(yaml_form.dump({"data": values})) == {"data": values}


@pytest.mark.parametrize("trap", ["y", "on", "012", "1e3", "null", "~", "2026-11-26", "0x1f", "", "- a", "a: b"])
def test_what_yaml_1_1_takes_for_something_else_is_quoted(trap):
    assert f'"{trap}"'.encode() in yaml_form.dump({"value": trap})


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_every_name_of_a_keep_becomes_one_that_a_service_can_have(name):
    made = desired.object_name(name)
    assert len(made) <= 52
    assert made[0].isalpha()
    assert made.replace("-", "").isalnum()
    assert made == made.lower()
    assert not made.endswith("-")


IANA_SERVICE_NAME = re.compile(r"(?=[0-9-]*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
"""RFC 6335, 5.1; Kubernetes wants small letters."""


def listening(names: list[str]) -> str:
    files = [{"kind": "listen", "name": name, "prot": "tls", "port": 8000 + n} for n, name in enumerate(names)]
    return tomli_w.dumps({"steward": "https://steward.example.org", "files": files})


def assert_ports_are_named_as_a_service_can_have_them(names: list[str]) -> None:
    ports = [port.name for port in wanted(listening(names)).ports]
    assert len(set(ports)) == len(names)
    assert [name for name in ports if len(name) > 15 or not IANA_SERVICE_NAME.fullmatch(name)] == []


@given(st.lists(st.from_regex(r"[A-Za-z0-9._/ -]{1,30}", fullmatch=True), unique=True, max_size=5))
def test_every_name_of_a_socket_becomes_one_that_a_port_can_have(names):
    assert_ports_are_named_as_a_service_can_have_them(names)


def test_sockets_beyond_the_hundredth_have_names_that_a_port_can_have():
    assert_ports_are_named_as_a_service_can_have_them([f"listener-of-{n}" for n in range(1001)])


def test_a_socket_that_is_named_as_another_is_numbered_stays_apart_from_it():
    assert_ports_are_named_as_a_service_can_have_them(["Web", "web-p0", "p2", "2"])


def test_names_that_differ_in_what_is_lost_stay_apart():
    assert desired.object_name("My.Echo") != desired.object_name("my_echo")
    assert desired.object_name("my-echo") == "my-echo"


POLICY = """
[ca]
trust_domain = "example.org"
audience = "https://steward.example.org"
[nil]
any_workload = true
names = ["localhost"]
lifetime = "2h"
"""


def steward_set(**given: Any) -> dict[str, bytes]:
    chosen = {
        "url": "https://steward.example.org",
        "namespace": "enarx-steward",
        "replicas": 2,
        "image": IMAGE,
        "pkcs11": "",
        "policy": POLICY,
        "database_image": "",
        **given,
    }
    return dict(steward_files.files(stewards.Wanted(**chosen)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("database", ["", f"registry.example/postgres@sha256:{'d' * 64}"])
def test_the_set_of_a_steward_is_what_the_published_schemas_ask_for(version, database):
    for name, content in steward_set(database_image=database).items():
        if name.endswith(".yaml") and name != render.KUSTOMIZATION:
            kubernetes_validate.validate(yaml.safe_load(content), version, strict=True)


def test_no_secret_is_in_the_set_of_a_steward():
    files = steward_set(database_image=f"registry.example/postgres@sha256:{'d' * 64}")
    assert not any(yaml.safe_load(content).get("kind") == "Secret" for name, content in files.items() if "yaml" in name)
    assert b"PRIVATE KEY" not in b"".join(files.values())
    assert b"create secret generic steward-ca" in files["README.md"]


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (POLICY.replace("[nil]", "[nul]"), "nul"),
        (POLICY.replace("any_workload = true", ""), "packages"),
        (
            POLICY.replace("steward.example.org", "other.example.org"),
            "Keeps are to know the Steward by https://steward",
        ),
    ],
)
def test_a_policy_that_no_steward_would_start_with_is_refused(policy, fault):
    with pytest.raises(UsageError, match="the policy") as caught:
        steward_set(policy=policy)
    assert fault in f"{caught.value} {caught.value.hint}"


def test_a_root_in_a_token_has_no_key_in_a_secret():
    files = steward_set(pkcs11="pkcs11:token=steward;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so")
    data = yaml.safe_load(files["config-map.yaml"])["data"]
    assert tomllib.loads(data["ca.toml"])["pkcs11"]["module"] == "/usr/lib/softhsm/libsofthsm2.so"
    pod = yaml.safe_load(files["deployment.yaml"])["spec"]["template"]["spec"]
    assert {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one} == {
        "steward-pin",
        "steward-database",
    }
    with pytest.raises(UsageError, match="does not say 'module-path'"):
        steward_set(pkcs11="pkcs11:token=steward;object=root")


def test_a_steward_without_tls_is_not_rendered():
    with pytest.raises(UsageError, match="no URL of a Steward"):
        steward_set(url="http://steward.example.org")


def test_the_files_of_the_image_are_where_pods_look_for_them():
    from enarx_kubernetes.image import runtime

    made = runtime.sources()
    assert {runtime.SERVING, runtime.STEWARD_STATE} <= made.keys()
    assert f"{runtime.PLACE}/enarx_deploy/host/pod.py" in made
    assert not any("__pycache__" in path or path.endswith(".pyc") for path in made)
    assert all(Path(path).is_relative_to(runtime.PLACE) for path in made)


def test_the_how_to_has_every_key_as_the_code_describes_it():
    page = (Path(__file__).parents[2] / "docs/how-to/deploy-on-kubernetes.md").read_text()
    hints = typing.get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        (said,) = (one.description for one in hints[field.name].__metadata__ if one.description)
        assert re.search(rf"^\| `{field.name}` \| [^|]* \| {re.escape(said)} \|$", page, re.MULTILINE), field.name
