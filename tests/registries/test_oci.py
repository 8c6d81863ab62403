"""Packages in an OCI registry: Debian's docker-registry."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.conftest import Program
from tests.registries.conftest import PASSWORD, USER, Server, log_in, make_package

from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.models import Package
from enarx_deploy.protocols import ATTACHMENT_LIMIT, ArtifactRegistry, Attachment
from enarx_deploy.reference import parse
from enarx_registries import oci_forms, oci_http, oci_repository
from enarx_registries.oci import Oci
from enarx_registries.oci_forms import Blob
from enarx_registries.oci_repository import Repository

REGISTRY = Oci()
SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b'{"bomFormat":"CycloneDX"}')
SIGNATURE = Attachment("signature", "application/vnd.dsse.envelope.v1+json", b'{"payload":""}')
EXIT_7 = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 7))))"""
LONG = "assets/" + "/".join(["a-directory-with-a-long-name"] * 12) + "/file"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return make_package(tmp_path / "tree", {"assets/model": b"weights", "assets/empty": b"", LONG: b"far away"})


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    return request.node.name.split("[")[0].replace("test_", "", 1).replace("_", "-").lower()[:60].rstrip("-")


def test_it_is_a_registry() -> None:
    assert isinstance(REGISTRY, ArtifactRegistry)


def test_what_is_published_is_fetched_by_tag_and_by_digest(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    named = plain_registry.reference(repository)
    assert REGISTRY.publish(package, named) == f"{named}@{package.digest}"
    for number, reference in enumerate((named, f"oci://{plain_registry.host}/{repository}@{package.digest}")):
        fetched = REGISTRY.fetch(reference, tmp_path / f"into{number}")
        assert (fetched.digest, fetched.files) == (package.digest, package.files)
        assert (Path(fetched.root) / LONG).read_bytes() == b"far away"
        assert [path.name for path in Path(fetched.root).parent.iterdir()] == [Path(fetched.root).name]


def test_the_same_package_has_the_same_manifest_whenever_and_wherever_it_is_published(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    elsewhere = make_package(
        tmp_path / "elsewhere", {LONG: b"far away", "assets/empty": b"", "assets/model": b"weights"}
    )
    manifests = []
    for name, made in ((f"{repository}/a", package), (f"{repository}/b", elsewhere)):
        REGISTRY.publish(made, plain_registry.reference(name), created=1_700_000_000)
        manifests.append(REGISTRY.resolve(plain_registry.reference(name)).details["manifest"])
    assert manifests[0] == manifests[1]


def test_the_artifact_has_the_form_that_tools_for_wasm_expect(
    plain_registry: Server, repository: str, package: Package
) -> None:
    REGISTRY.publish(package, plain_registry.reference(repository), created=1_700_000_000)
    manifest = plain_registry.get(f"{repository}/manifests/1.0.0", oci_forms.MANIFEST).json()
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/wasm"
    assert layer["annotations"] == {"org.opencontainers.image.title": "main.wasm"}
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json"
    config = plain_registry.get(f"{repository}/blobs/{manifest['config']['digest']}").json()
    assert (config["architecture"], config["os"]) == ("wasm", "wasip1")
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["layerDigests"] == [layer["digest"]]


def test_the_image_of_the_same_files_shares_their_archive(
    plain_registry: Server, repository: str, package: Package
) -> None:
    REGISTRY.publish(package, plain_registry.reference(repository))
    artifact = plain_registry.get(f"{repository}/manifests/1.0.0", oci_forms.MANIFEST).json()
    image = plain_registry.get(f"{repository}/manifests/1.0.0-oci", oci_forms.MANIFEST).json()
    assert image["layers"][1]["digest"] == artifact["annotations"][oci_forms.PACKAGE_TREE]
    config = plain_registry.get(f"{repository}/blobs/{image['config']['digest']}").json()
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in image["layers"]]


def test_what_is_attached_comes_back_and_stands_in_the_list_of_referrers(
    plain_registry: Server, repository: str, package: Package
) -> None:
    named = plain_registry.reference(repository)
    REGISTRY.publish(package, named, [SBOM])
    REGISTRY.publish(package, named, [SBOM, SIGNATURE])
    assert sorted(REGISTRY.attachments(named), key=lambda one: one.kind) == [SBOM, SIGNATURE]
    manifest = REGISTRY.resolve(named).details["manifest"]
    index = plain_registry.get(f"{repository}/manifests/{manifest.replace(':', '-')}", oci_forms.INDEX).json()
    assert {entry["artifactType"] for entry in index["manifests"]} == {
        SBOM.media_type,
        SIGNATURE.media_type,
        oci_forms.ENARX_TOML,
        oci_forms.TREE,
    }


def test_an_attachment_that_is_too_large_is_refused_before_anything_is_sent(
    plain_registry: Server, repository: str, package: Package
) -> None:
    large = Attachment("sbom", "text/plain", bytes(ATTACHMENT_LIMIT + 1))
    with pytest.raises(PackageError, match="the sbom is over 16,777,216 bytes"):
        REGISTRY.publish(package, plain_registry.reference(repository), [large])
    assert plain_registry.get(f"{repository}/tags/list").status_code == 404


def test_a_version_names_one_package_for_ever_and_other_tags_move(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    other = make_package(tmp_path / "other", {})
    for tag in ("1.0.0", "latest"):
        REGISTRY.publish(package, plain_registry.reference(repository, tag))
    with pytest.raises(RegistryError, match="a version names one package for ever"):
        REGISTRY.publish(other, plain_registry.reference(repository))
    REGISTRY.publish(other, plain_registry.reference(repository, "latest"))
    assert REGISTRY.resolve(plain_registry.reference(repository)).digest == package.digest
    assert REGISTRY.resolve(plain_registry.reference(repository, "latest")).digest == other.digest


def test_of_two_who_publish_a_version_at_once_one_has_it_whole_and_the_other_is_told(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find it free; then they set its tags in this order."""
    packages = {"first": package, "second": make_package(tmp_path / "other", {"assets/model": b"others"})}
    due = [("second", "1.0.0-oci"), ("first", "1.0.0-oci"), ("first", "1.0.0"), ("second", "1.0.0")]
    both_found_it_free = threading.Barrier(2)
    moved = threading.Condition()
    put_manifest = Repository.put_manifest

    def in_turn(self: Repository, blob: Blob, name: str = "") -> bool:
        here = (threading.current_thread().name, name)
        if here not in due:
            return put_manifest(self, blob, name)
        if name.endswith("-oci"):
            both_found_it_free.wait(120)
        with moved:
            assert moved.wait_for(lambda: due[0] == here, 120)
            answer = put_manifest(self, blob, name)
            due.pop(0)
            moved.notify_all()
            assert moved.wait_for(lambda: here[1].endswith("-oci") or not due, 120)
        return answer

    def publish(name: str) -> str:
        threading.current_thread().name = name
        return REGISTRY.publish(packages[name], plain_registry.reference(repository))

    monkeypatch.setattr(Repository, "put_manifest", in_turn)
    with ThreadPoolExecutor() as pool:
        first, second = pool.submit(publish, "first"), pool.submit(publish, "second")
        with pytest.raises(
            RegistryError, match=rf"is '{packages['second'].digest}', and not {package.digest}: another"
        ):
            first.result()
        assert second.result().endswith(packages["second"].digest)
    there = REGISTRY.resolve(plain_registry.reference(repository))
    assert there.digest == packages["second"].digest
    artifact = plain_registry.get(f"{repository}/manifests/1.0.0", oci_forms.MANIFEST).json()
    image = plain_registry.get(f"{repository}/manifests/1.0.0-oci", oci_forms.MANIFEST).json()
    assert image["layers"][1]["digest"] == artifact["annotations"][oci_forms.PACKAGE_TREE]


def test_a_version_with_build_metadata_has_a_tag_that_registries_allow(
    plain_registry: Server, repository: str, package: Package
) -> None:
    named = plain_registry.reference(repository, "1.0.0+abc")
    REGISTRY.publish(package, named)
    assert REGISTRY.resolve(named).digest == package.digest
    assert REGISTRY.tags(named) == ["1.0.0_abc"]


def test_a_yanked_tag_gives_the_reason_and_the_digest_still_the_package(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    named = plain_registry.reference(repository)
    REGISTRY.publish(package, named)
    REGISTRY.yank(named, "it\x1b leaks")
    with pytest.raises(NotPublished, match=r"1\.0\.0 was yanked: it  leaks") as caught:
        REGISTRY.fetch(named, tmp_path / "into")
    assert f"{named}@{package.digest}" in caught.value.hint
    assert REGISTRY.resolve(f"{named}@{package.digest}").yanked == "it  leaks"
    assert REGISTRY.fetch(f"{named}@{package.digest}", tmp_path / "into").digest == package.digest
    other = make_package(tmp_path / "other", {})
    with pytest.raises(RegistryError, match="one package for ever"):
        REGISTRY.publish(other, named)
    REGISTRY.yank(named, "and more")
    assert REGISTRY.resolve(named).yanked == "and more"
    REGISTRY.publish(package, named)
    assert REGISTRY.resolve(named).yanked == ""


def test_search_finds_repositories_and_what_is_in_them(
    plain_registry: Server, repository: str, package: Package
) -> None:
    for name in ("one", "two"):
        REGISTRY.publish(package, plain_registry.reference(f"{repository}/{name}"))
    found = list(REGISTRY.search(f"oci://{plain_registry.host}", [f"{repository}/"]))
    assert [one.reference.partition("@")[0] for one in found] == [
        plain_registry.reference(f"{repository}/{name}") for name in ("one", "two")
    ]
    below = list(REGISTRY.search(f"oci://{plain_registry.host}/{repository}", ["two"]))
    assert [(one.digest, one.size) for one in below] == [(package.digest, package.size)]


def test_what_is_fetched_already_is_not_fetched_again(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    named = REGISTRY.publish(package, plain_registry.reference(repository))
    REGISTRY.fetch(named, tmp_path / "into")
    lines: list[str] = []
    assert REGISTRY.fetch(named, tmp_path / "into", lines.append).digest == package.digest
    assert REGISTRY.fetch(named.partition("@")[0], tmp_path / "into", lines.append).digest == package.digest
    assert lines == []


def test_a_large_blob_goes_in_portions(
    plain_registry: Server, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_repository, "_WHOLE", 100_000)
    monkeypatch.setattr(oci_repository, "_PORTION", 300_000)
    package = make_package(tmp_path / "tree", {"assets/large": bytes(range(256)) * 4096})
    REGISTRY.publish(package, plain_registry.reference(repository))
    fetched = REGISTRY.fetch(plain_registry.reference(repository), tmp_path / "into")
    assert fetched.files == package.files


def test_a_missing_package_is_told_from_a_refused_login(
    locked_registry: Server, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = locked_registry.reference("team/echo")
    with pytest.raises(RegistryError, match=r"the TLS certificate of .* is not good"):
        REGISTRY.resolve(named)
    monkeypatch.setenv("SSL_CERT_FILE", locked_registry.root)
    with pytest.raises(RegistryError, match="asks for a login, and nobody has logged in") as caught:
        REGISTRY.resolve(named)
    assert "docker login" in caught.value.hint
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path / "wrong", locked_registry.host, password="wrong")))
    with pytest.raises(RegistryError, match=f"refused the login of '{USER}'") as caught:
        REGISTRY.resolve(named)
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path / "right", locked_registry.host)))
    with pytest.raises(NotPublished, match=r"has no such thing in team/echo: MANIFEST_UNKNOWN|NAME_UNKNOWN"):
        REGISTRY.resolve(named)
    REGISTRY.publish(package, named, [SBOM])
    assert REGISTRY.fetch(named, tmp_path / "into").digest == package.digest
    assert REGISTRY.attachments(named) == [SBOM]
    assert PASSWORD not in repr(REGISTRY)


def test_a_root_that_podman_or_docker_was_given_for_the_registry_counts(
    locked_registry: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "config/containers/certs.d" / locked_registry.host
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes(Path(locked_registry.root).read_bytes())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(RegistryError, match="nobody has logged in"):
        REGISTRY.resolve(locked_registry.reference("team/echo"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("oci://127.0.0.1:1/Team/echo:1.0.0", "'Team/echo' is not a repository"),
        ("oci://127.0.0.1:1/team/echo:.bad", "'.bad' is not a tag"),
        ("oci://127.0.0.1:1/../echo:1", "is not a repository"),
        ("oci://127.0.0.1:1/a?b:1", "is not a repository"),
    ],
)
def test_what_no_registry_could_have_is_refused_before_it_is_asked(reference: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        REGISTRY.resolve(reference)


def test_a_reference_without_tag_and_digest_says_so(plain_registry: Server) -> None:
    with pytest.raises(UsageError, match="does not say which package"):
        REGISTRY.resolve(f"oci://{plain_registry.host}/team/echo")


def test_the_digest_of_a_manifest_is_told_from_that_of_a_package(
    plain_registry: Server, repository: str, package: Package
) -> None:
    REGISTRY.publish(package, plain_registry.reference(repository))
    manifest = REGISTRY.resolve(plain_registry.reference(repository)).details["manifest"]
    with pytest.raises(NotPublished, match="has no package") as caught:
        REGISTRY.resolve(f"oci://{plain_registry.host}/{repository}@{manifest}")
    assert f"the digest of an OCI manifest; the package's is {package.digest}" in caught.value.hint


def test_a_registry_that_does_not_run_is_named() -> None:
    with pytest.raises(RegistryError, match=r"127.0.0.1:1 cannot be reached: .*refused"):
        REGISTRY.resolve("oci://127.0.0.1:1/team/echo:1.0.0")


def put(server: Server, path: str, body: bytes, media_type: str = oci_forms.MANIFEST) -> None:
    answer = httpx.put(
        f"http://{server.host}/v2/{path}", content=body, headers={"Content-Type": media_type}, timeout=120
    )
    assert answer.status_code == 201, answer.text


def test_a_package_that_is_not_what_its_annotation_says_is_refused(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    REGISTRY.publish(package, plain_registry.reference(repository))
    manifest = plain_registry.get(f"{repository}/manifests/1.0.0", oci_forms.MANIFEST).json()
    manifest["annotations"][oci_forms.PACKAGE_DIGEST] = f"sha256:{'0' * 64}"
    put(plain_registry, f"{repository}/manifests/forged", json.dumps(manifest).encode())
    with pytest.raises(PackageError, match=rf"its digest is {package.digest}, not sha256:0000"):
        REGISTRY.fetch(plain_registry.reference(repository, "forged"), tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_another_package_under_the_tag_of_a_digest_is_refused(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    other = make_package(tmp_path / "other", {})
    for number, one in enumerate((package, other)):
        REGISTRY.publish(one, plain_registry.reference(repository, f"1.0.{number}"))
    manifest = plain_registry.get(f"{repository}/manifests/1.0.1", oci_forms.MANIFEST).json()
    tag = f"package-{package.digest.removeprefix('sha256:')}"
    put(plain_registry, f"{repository}/manifests/{tag}", json.dumps(manifest).encode())
    with pytest.raises(PackageError, match="names another package"):
        REGISTRY.fetch(f"oci://{plain_registry.host}/{repository}@{package.digest}", tmp_path / "into")


def test_an_artifact_of_another_tool_is_named_as_what_it_is(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path
) -> None:
    REGISTRY.publish(package, plain_registry.reference(repository))
    manifest = plain_registry.get(f"{repository}/manifests/1.0.0", oci_forms.MANIFEST).json()
    del manifest["annotations"]
    put(plain_registry, f"{repository}/manifests/foreign", json.dumps(manifest).encode())
    with pytest.raises(PackageError, match=r"is not a package of enarx-deploy, but application/vnd\.wasm\.config"):
        REGISTRY.fetch(plain_registry.reference(repository, "foreign"), tmp_path / "into")
    assert [one.tags for one in REGISTRY.search(f"oci://{plain_registry.host}/{repository}", [])] == [["1.0.0"]]


def test_what_somebody_left_half_among_the_referrers_hides_no_other(
    plain_registry: Server, repository: str, package: Package
) -> None:
    named = plain_registry.reference(repository)
    REGISTRY.publish(package, named, [SBOM])
    tag = REGISTRY.resolve(named).details["manifest"].replace(":", "-")
    index = plain_registry.get(f"{repository}/manifests/{tag}", oci_forms.INDEX).json()
    index["manifests"].reverse()
    for entry in index["manifests"][1:]:
        entry["artifactType"] = "a lie"
    about_another = oci_forms.referrer(
        SIGNATURE.media_type,
        [oci_forms.EMPTY_BLOB.descriptor],
        oci_forms.Descriptor(oci_forms.MANIFEST, f"sha256:{'1' * 64}", 1),
        {oci_forms.ATTACHMENT: "signature"},
    )
    put(plain_registry, f"{repository}/manifests/stray", about_another.content)
    stray = {
        "mediaType": oci_forms.MANIFEST,
        "digest": about_another.descriptor.digest,
        "size": about_another.descriptor.size,
    }
    index["manifests"].insert(0, stray)
    put(plain_registry, f"{repository}/manifests/{tag}", json.dumps(index).encode(), oci_forms.INDEX)
    assert REGISTRY.attachments(named) == [SBOM]


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("other-content", "is damaged: it is not what the package lists"),
        ("other-sha512", "is damaged, or another package"),
        ("missing-file", "is damaged: it is not what the package lists"),
        ("missing-sha512", ""),
        ("not-base64", ""),
    ],
)
def test_a_list_of_digests_is_not_believed(
    plain_registry: Server, repository: str, package: Package, tmp_path: Path, defect: str, message: str
) -> None:
    named = plain_registry.reference(f"{repository}/{defect}")
    REGISTRY.publish(package, named)
    manifest = plain_registry.get(f"{repository}/{defect}/manifests/1.0.0", oci_forms.MANIFEST).json()
    listing = json.loads(oci_forms.listing(package).content)
    digests = listing["assets/model"]["digest"]
    if defect == "other-content":
        digests["sha-256"] = listing["Enarx.toml"]["digest"]["sha-256"]
    elif defect == "other-sha512":
        digests["sha-512"] = listing["Enarx.toml"]["digest"]["sha-512"]
    elif defect == "missing-file":
        del listing["assets/model"]
    elif defect == "missing-sha512":
        del digests["sha-512"]
    else:
        digests["sha-224"] = "not base64"
    blob = oci_forms.blob(oci_forms.LISTING, json.dumps(listing).encode())
    with oci_http.connected(parse(named)) as connection:
        Repository(connection, named).put_bytes(blob)
    manifest["annotations"][oci_forms.PACKAGE_LISTING] = blob.descriptor.digest
    put(plain_registry, f"{repository}/{defect}/manifests/forged", json.dumps(manifest).encode())
    forged = plain_registry.reference(f"{repository}/{defect}", "forged")
    if message:
        with pytest.raises(PackageError, match=message):
            REGISTRY.fetch(forged, tmp_path / "into")
    else:  # then every digest is taken of the files themselves
        assert REGISTRY.fetch(forged, tmp_path / "into").files == package.files


def test_a_project_is_published_and_run_by_a_slug(plain_registry: Server, enarx_deploy: Program) -> None:
    """With `ENARX_REGISTRY`, the reference is the one that Enarx's users know."""
    (enarx_deploy.directory / "main.wat").write_text(EXIT_7)
    (enarx_deploy.directory / "Enarx.toml").write_text("")
    registry = {"ENARX_REGISTRY": f"oci://{plain_registry.host}"}
    published = enarx_deploy("publish", "team/seven:1.0.0", env=registry)
    assert published.returncode == 0, published.stderr
    assert published.stdout.startswith(f"oci://{plain_registry.host}/team/seven:1.0.0@sha256:")
    assert enarx_deploy("run", "team/seven:1.0.0", env=registry).returncode == 7
    assert "manifest     sha256:" in enarx_deploy("info", "team/seven:1.0.0", env=registry).stdout
    yanked = enarx_deploy("yank", "team/seven:1.0.0", "--reason", "too many", env=registry)
    assert yanked.returncode == 0, yanked.stderr
    refused = enarx_deploy("run", "team/seven:1.0.0", env=registry)
    assert refused.returncode == 1
    assert "was yanked: too many" in refused.stderr
    assert enarx_deploy("run", published.stdout.strip()).returncode == 7
