"""The registry that is a directory."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx_deploy import package_tree
from enarx_deploy.errors import EnarxDeployError, NotPublished, PackageError, UsageError
from enarx_deploy.models import Package
from enarx_deploy.protocols import ATTACHMENT_LIMIT, ArtifactRegistry, Attachment
from enarx_registries.directory import Directory

REGISTRY = Directory()
SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b'{"bomFormat":"CycloneDX"}')
SIGNATURE = Attachment("signature", "application/vnd.dsse.envelope.v1+json", b"\0binary")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    tree = tmp_path / "tree"
    (tree / "assets/data").mkdir(parents=True)
    (tree / "main.wasm").write_bytes(b"\0asm\x01\0\0\0")
    (tree / "Enarx.toml").write_bytes(b"")
    (tree / "assets/data/model").write_bytes(b"weights")
    return package_tree.read(tree)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def place(store: Path, package: Package) -> Path:
    return store / package.digest.removeprefix("sha256:")


def test_it_is_a_registry() -> None:
    assert isinstance(REGISTRY, ArtifactRegistry)


@pytest.mark.parametrize("scheme", ["dir:", "file://"])
def test_what_is_published_can_be_fetched_by_its_reference(
    package: Package, store: Path, tmp_path: Path, scheme: str
) -> None:
    reference = REGISTRY.publish(package, f"{scheme}{store}")
    assert reference == f"{scheme}{store}@{package.digest}"
    fetched = REGISTRY.fetch(reference, tmp_path / "into")
    assert (fetched.digest, fetched.files) == (package.digest, package.files)
    assert Path(fetched.root) == place(tmp_path / "into", package)
    assert (Path(fetched.root) / "assets/data/model").read_bytes() == b"weights"


def test_publishing_again_changes_nothing(package: Package, store: Path) -> None:
    REGISTRY.publish(package, f"dir:{store}")
    before = (place(store, package) / "main.wasm").stat().st_ino
    assert REGISTRY.publish(package, f"dir:{store}@{package.digest}") == f"dir:{store}@{package.digest}"
    assert (place(store, package) / "main.wasm").stat().st_ino == before
    assert [path.name for path in store.iterdir()] == [place(store, package).name]


def test_publishing_again_heals_what_was_damaged(package: Package, store: Path, tmp_path: Path) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}")
    (place(store, package) / "main.wasm").write_bytes(b"damaged")
    with pytest.raises(PackageError, match="is damaged"):
        REGISTRY.fetch(reference, tmp_path / "into")
    REGISTRY.publish(package, f"dir:{store}")
    assert REGISTRY.fetch(reference, tmp_path / "into").digest == package.digest
    assert [path.name for path in store.iterdir()] == [place(store, package).name]


def test_a_package_that_changed_since_it_was_made_is_not_published(package: Package, store: Path) -> None:
    (Path(package.root) / "assets/data/model").write_bytes(b"other weights")
    with pytest.raises(PackageError, match="is damaged, or another package"):
        REGISTRY.publish(package, f"dir:{store}")
    assert not list(store.iterdir())


def test_a_link_in_the_place_of_a_package_is_not_followed(package: Package, store: Path, tmp_path: Path) -> None:
    store.mkdir()
    place(store, package).symlink_to(package.root)
    with pytest.raises(PackageError, match="is a symbolic link"):
        REGISTRY.fetch(f"dir:{store}@{package.digest}", tmp_path / "into")
    REGISTRY.publish(package, f"dir:{store}")
    assert not place(store, package).is_symlink()
    assert Path(package.root).is_dir()


def test_a_package_that_is_not_there_is_named(store: Path, tmp_path: Path) -> None:
    store.mkdir()
    with pytest.raises(NotPublished, match=f"{store} has no package sha256:0000"):
        REGISTRY.fetch(f"dir:{store}@sha256:{'0' * 64}", tmp_path / "into")


def test_a_packages_own_directory_can_be_fetched_without_a_digest(package: Package, tmp_path: Path) -> None:
    assert REGISTRY.fetch(f"file://{package.root}", tmp_path / "into").digest == package.digest


def test_a_path_with_percent_signs_is_decoded_in_a_url_alone(package: Package, tmp_path: Path) -> None:
    REGISTRY.publish(package, f"file://{tmp_path}/a%20b")
    REGISTRY.publish(package, f"dir:{tmp_path}/c%20d")
    assert place(tmp_path / "a b", package).is_dir()
    assert place(tmp_path / "c%20d", package).is_dir()


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("dir:STORE", PackageError, "does not say which one in it"),
        ("file://elsewhere/STORE", UsageError, "does not name a directory of this machine"),
        ("dir:STORE@sha256:abc", PackageError, "is no package"),
    ],
)
def test_references_that_name_no_package_are_refused(
    store: Path, tmp_path: Path, reference: str, error: type[EnarxDeployError], message: str
) -> None:
    store.mkdir()
    with pytest.raises(error, match=message):
        REGISTRY.fetch(reference.replace("STORE", str(store)), tmp_path / "into")


def test_publishing_under_another_packages_digest_is_refused(package: Package, store: Path) -> None:
    with pytest.raises(UsageError, match="names another package"):
        REGISTRY.publish(package, f"dir:{store}@sha256:{'0' * 64}")


def test_what_is_attached_comes_back_as_it_was(package: Package, store: Path) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}", [SBOM])
    REGISTRY.publish(package, f"dir:{store}", [SBOM, SIGNATURE])
    assert sorted(REGISTRY.attachments(reference), key=lambda one: one.kind) == [SBOM, SIGNATURE]
    assert REGISTRY.fetch(reference, store / "into").digest == package.digest


def test_an_attachment_that_was_changed_is_refused(package: Package, store: Path) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}", [SBOM])
    (kept,) = (store / f"{package.digest.removeprefix('sha256:')}.attachments").iterdir()
    kept.write_bytes(kept.read_bytes().replace(b"sbom", b"mobs"))
    with pytest.raises(PackageError, match="is damaged"):
        REGISTRY.attachments(reference)


def test_an_attachment_that_is_too_large_is_refused_before_anything_is_seen(package: Package, store: Path) -> None:
    large = Attachment("sbom", "text/plain", bytes(ATTACHMENT_LIMIT + 1))
    with pytest.raises(PackageError, match="the sbom is over 16,777,216 bytes"):
        REGISTRY.publish(package, f"dir:{store}", [large])
    assert not store.exists()


def test_a_yanked_package_says_why_and_is_still_had_by_its_digest(
    package: Package, store: Path, tmp_path: Path
) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}")
    REGISTRY.yank(reference, "it leaks")
    assert REGISTRY.resolve(reference).yanked == "it leaks"
    assert REGISTRY.fetch(reference, tmp_path / "into").digest == package.digest
    REGISTRY.publish(package, f"dir:{store}")
    assert REGISTRY.resolve(reference).yanked == ""


def test_search_finds_packages_by_the_words_in_their_names(package: Package, store: Path) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}", [SBOM])
    assert [found.reference for found in REGISTRY.search(f"dir:{store}", [])] == [reference]
    assert [found.size for found in REGISTRY.search(f"dir:{store}", [package.digest[:20]])] == [package.size]
    assert list(REGISTRY.search(f"dir:{store}", ["elsewhere"])) == []


@pytest.mark.parametrize("made", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_others_put_beside_a_package_is_neither_waited_for_nor_read_without_end(
    package: Package, store: Path, tmp_path: Path, made: Callable[[Path], None]
) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}", [SBOM])
    made(store / f"{place(store, package).name}.yanked")
    made(store / f"{place(store, package).name}.attachments" / ("a" * 64))
    for ask in (REGISTRY.resolve, REGISTRY.attachments):
        with pytest.raises(PackageError, match=r"is neither a file nor a directory|is a symbolic link"):
            ask(reference)
    assert REGISTRY.fetch(reference, tmp_path / "into").digest == package.digest


def test_what_is_damaged_is_left_out_of_a_search_and_hides_nothing_else(package: Package, store: Path) -> None:
    reference = REGISTRY.publish(package, f"dir:{store}")
    (store / ("0" * 64)).mkdir()
    shutil.copytree(place(store, package), store / ("1" * 64))
    assert [found.reference for found in REGISTRY.search(f"dir:{store}", [])] == [reference]
