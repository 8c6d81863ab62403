"""The registry provider against a real server: publish, fetch, resolve, tags, yank, attachments."""

from __future__ import annotations

import httpx
import pytest

from enarx_deploy import package_tree
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.protocols import ArtifactRegistry, Attachment
from enarx_drawbridge.reading import ENTRY_TYPE
from enarx_registries.drawbridge import Drawbridge

from .conftest import WASM, make_package

REGISTRY = Drawbridge()
SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b'{"bomFormat":"CycloneDX"}')
SIGNATURE = Attachment("signature", "application/vnd.in-toto+dsse", b'{"payload":""}')


@pytest.fixture
def place(server, owner, provider, monkeypatch, tmp_path):
    """The user's repository, for a user who is logged in."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ENARX_INSECURE_AUTH_TOKEN", provider.token())
    host = server.url.removeprefix("http://")
    monkeypatch.setenv("ENARX_REGISTRY", f"drawbridge+http://{host}")
    return f"drawbridge://{host}/testuser/hello"


@pytest.fixture
def made(tmp_path):
    """Make a package on disk, with this in its manifest."""

    def made(words: str = ""):
        root = tmp_path / "tree"
        (root / "assets" / "deep").mkdir(parents=True, exist_ok=True)
        (root / "main.wasm").write_bytes(WASM)
        (root / "Enarx.toml").write_text(f"# {words}\n")
        (root / "assets" / "deep" / "page.html").write_text("<p>")
        return package_tree.read(root)

    return made


def test_it_is_a_registry_with_all_that_commands_ask_for():
    assert isinstance(REGISTRY, ArtifactRegistry)


def test_a_package_goes_there_and_back(place, made, tmp_path):
    package, said = made(), []
    reference = REGISTRY.publish(package, f"{place}:1.0.0", progress=said.append)
    assert reference == f"{place}:1.0.0@{package.digest}"
    assert said[-1] == "putting 6 of 6: assets/deep/page.html"
    for named in (reference, f"{place}:1.0.0", f"{place}@{package.digest}"):
        fetched = REGISTRY.fetch(named, tmp_path / "got")
        assert (fetched.digest, fetched.files) == (package.digest, package.files)
    found = REGISTRY.resolve(f"{place}:1.0.0")
    assert (found.reference, found.size, found.tags) == (reference, package.size, ["1.0.0"])
    assert "1.0.0" in REGISTRY.tags(place + ":0.0.0")
    assert reference in [one.reference for one in REGISTRY.search(place, ["1.0"])]


def test_what_is_public_is_fetched_without_a_login(place, made, tmp_path, monkeypatch):
    REGISTRY.publish(made(), f"{place}:1.1.0")
    monkeypatch.delenv("ENARX_INSECURE_AUTH_TOKEN")
    assert REGISTRY.fetch(f"{place}:1.1.0", tmp_path / "got").digest == made().digest


def test_what_is_private_is_fetched_with_one(place, made, tmp_path, monkeypatch):
    secret = place.replace("hello", "secret") + ":1.0.0"
    REGISTRY.publish(made(), secret)
    assert REGISTRY.fetch(secret, tmp_path / "got").digest == made().digest
    monkeypatch.delenv("ENARX_INSECURE_AUTH_TOKEN")
    with pytest.raises(RegistryError, match="wants a login") as error:
        REGISTRY.fetch(secret, tmp_path / "got")
    assert "enarx-deploy user login 127.0.0.1:" in error.value.hint


def test_publishing_again_changes_nothing_and_something_else_is_refused(place, made):
    first = REGISTRY.publish(made(), f"{place}:1.2.0")
    assert REGISTRY.publish(made(), f"{place}:1.2.0") == first
    with pytest.raises(RegistryError, match="something else"):
        REGISTRY.publish(made("changed"), f"{place}:1.2.0")
    assert REGISTRY.resolve(f"{place}:1.2.0").reference == first


def test_a_repository_or_a_tag_that_is_not_there_is_told_so(place, made, tmp_path):
    with pytest.raises(NotPublished) as error:
        REGISTRY.publish(made(), place.replace("hello", "unheard-of") + ":1.0.0")
    assert "enarx-deploy repo register" in error.value.hint
    with pytest.raises(NotPublished):
        REGISTRY.fetch(f"{place}:9.9.9", tmp_path)
    with pytest.raises(NotPublished):
        REGISTRY.fetch(f"{place}@sha256:{'0' * 64}", tmp_path)


def test_another_package_under_a_pinned_name_is_refused(place, made, tmp_path):
    REGISTRY.publish(made(), f"{place}:1.3.0")
    with pytest.raises(PackageError, match="not sha256:000"):
        REGISTRY.fetch(f"{place}:1.3.0@sha256:{'0' * 64}", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_a_yanked_package_is_had_by_its_digest_alone_and_publishing_takes_the_yank_back(place, made, tmp_path):
    package = made("leaky")
    pinned = REGISTRY.publish(package, f"{place}:1.4.0")
    REGISTRY.yank(f"{place}:1.4.0", "it leaks")
    with pytest.raises(NotPublished, match="it leaks"):
        REGISTRY.fetch(f"{place}:1.4.0", tmp_path / "got")
    assert "1.4.0" not in REGISTRY.tags(f"{place}:1.4.0")
    assert REGISTRY.fetch(pinned, tmp_path / "got").digest == package.digest
    assert REGISTRY.resolve(pinned).yanked == "it leaks"
    REGISTRY.publish(package, f"{place}:1.4.0")
    assert REGISTRY.fetch(f"{place}:1.4.0", tmp_path / "got").digest == package.digest


def test_attachments_are_kept_beside_a_package_and_are_no_tags_of_it(place, made):
    package = made("attached")
    reference = REGISTRY.publish(package, f"{place}:1.5.0", [SBOM])
    REGISTRY.publish(package, f"{place}:1.5.0", [SBOM, SIGNATURE])
    found = REGISTRY.attachments(reference)
    assert sorted(found, key=lambda one: one.kind) == [SBOM, SIGNATURE]
    assert REGISTRY.attachments(f"{place}:1.5.0") == found
    assert not [tag for tag in REGISTRY.tags(reference) if "attachment" in tag]
    other = REGISTRY.publish(made("bare"), f"{place}:1.5.1")
    assert REGISTRY.attachments(other) == []


def test_a_changed_file_is_not_published(place, made):
    package = made("before")
    made("after")
    with pytest.raises(PackageError, match="damaged"):
        REGISTRY.publish(package, f"{place}:1.6.0")


@pytest.mark.parametrize(
    "reference", ["{}:latest", "{}", "{}:1.0", "drawbridge://host/justuser:1.0.0", "drawbridge://host/a/b/c:1.0.0"]
)
def test_what_names_no_package_is_refused(place, made, reference):
    with pytest.raises(UsageError):
        REGISTRY.publish(made(), reference.format(place))


def test_a_registry_that_is_not_there_is_told_so(place, tmp_path, monkeypatch):
    monkeypatch.setattr("enarx_drawbridge.client.http.FIRST_PAUSE", 0.01)
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9.* does not answer"):
        REGISTRY.fetch("drawbridge://127.0.0.1:9/a/b:1.0.0", tmp_path)


def test_a_certificate_that_is_not_good_is_told_at_once_with_what_to_do(
    start, steward, provider, tmp_path, monkeypatch, made
):
    server = start(*steward.server_files(tmp_path), context=steward.context())
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ENARX_INSECURE_AUTH_TOKEN", provider.token())
    host = server.url.removeprefix("https://")
    monkeypatch.setenv("ENARX_REGISTRY", host)
    place = f"drawbridge://{host}/testuser/hello"
    with pytest.raises(RegistryError) as error:
        REGISTRY.fetch(f"{place}:1.0.0", tmp_path / "got")
    assert "ENARX_CA_BUNDLE" in error.value.hint
    (tmp_path / "root.pem").write_text(steward.root.pem)
    monkeypatch.setenv("ENARX_CA_BUNDLE", str(tmp_path / "root.pem"))
    server.client(provider.token()).register()
    assert REGISTRY.publish(made(), f"{place}:1.0.0").startswith(place)
    assert REGISTRY.fetch(f"{place}:1.0.0", tmp_path / "got").digest == made().digest
    with pytest.raises(RegistryError):
        REGISTRY.fetch(f"{place.replace('drawbridge:', 'drawbridge+http:')}:1.0.0", tmp_path / "got")


def test_what_a_registry_changes_is_noticed(server, place, made, tmp_path):
    """The server's own disk is changed behind its back: it answers with what it has, and the client looks."""
    package = made("to be damaged")
    REGISTRY.publish(package, f"{place}:1.7.0")
    digest = next(file.sha256 for file in package.files if file.path == "Enarx.toml").removeprefix("sha256:")
    blob = server.store / "blobs" / digest[:2] / digest
    blob.write_bytes(blob.read_bytes().swapcase())
    with pytest.raises(PackageError, match="not what the directory"):
        REGISTRY.fetch(f"{place}:1.7.0", tmp_path / "got")
    assert not [path for path in (tmp_path / "got").rglob("*") if path.is_file()]


def test_a_tree_with_a_foreign_file_is_fetched_by_no_one(owner, place, tmp_path):
    foreign = make_package({"main.wasm": WASM, "Enarx.toml": b"", "setup.exe": b"MZ"})
    assert owner.publish(foreign, "1.8.0")[-1].status_code == 201
    with pytest.raises(PackageError, match=r"setup\.exe"):
        REGISTRY.fetch(f"{place}:1.8.0", tmp_path / "got")


def test_a_tag_without_its_tree_is_not_published(owner, server):
    lone = make_package({"main.wasm": b"never put"})
    assert owner.put("testuser/hello/_tag/1.9.0", lone.tag, ENTRY_TYPE).status_code == 201
    assert httpx.get(f"{server.url}/api/v0.1.0/testuser/hello/_tag/1.9.0", timeout=120).status_code == 404


def test_a_whole_registry_is_searched_for_what_is_public(place, made):
    public, private = f"{place}:2.0.0-wanted", place.replace("hello", "secret") + ":2.0.0-wanted"
    reference = REGISTRY.publish(made("found"), public, [SBOM])
    REGISTRY.publish(made("not found"), private)
    host, user = place.removesuffix("/testuser/hello"), place.removesuffix("/hello")
    for where in (host, user, place):
        assert [one.reference for one in REGISTRY.search(where, ["hello", "wanted"])] == [reference]
    assert list(REGISTRY.search(f"{host}/nobody", ["wanted"])) == []
