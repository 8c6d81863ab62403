"""`kill -9` at every point of publishing and fetching: nothing is seen by half, a retry succeeds, nothing is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.conftest import Program
from tests.registries.conftest import Server, make_package
from tests.registries.killed import POINT, walk

from enarx_deploy import package_tree
from enarx_deploy.cli import main
from enarx_deploy.errors import NotPublished
from enarx_deploy.models import Package
from enarx_deploy.protocols import Attachment
from enarx_registries.directory import Directory
from enarx_registries.oci import Oci

SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b'{"bomFormat":"CycloneDX"}')


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return make_package(tmp_path / "tree", {"assets/a/b": b"one", "assets/c": b"two"})


def publish_to_directory(package: Package, store: str) -> None:
    Directory().publish(package, store, [SBOM])


def fetch_from_directory(reference: str, into: Path) -> None:
    Directory().fetch(reference, into)


def publish_to_oci(package: Package, reference: str) -> None:
    Oci().publish(package, reference, [SBOM])


def fetch_from_oci(reference: str, into: Path) -> None:
    Oci().fetch(reference, into)


def publish_by_the_command(place: Path) -> None:
    os.environ |= places(place)
    sys.argv = ["enarx-deploy", "--quiet", *publishing(place)]
    main.main()


def places(place: Path) -> dict[str, str]:
    """Everywhere that a command may leave something."""
    made = {name: place / name for name in ("ENARX_DEPLOY_STATE_DIR", "ENARX_DEPLOY_CACHE_DIR", "TMPDIR")}
    for path in made.values():
        path.mkdir(parents=True, exist_ok=True)
    return {name: str(path) for name, path in made.items()}


def publishing(place: Path) -> list[str]:
    return ["-C", str(place / "project"), "publish", f"dir:{place / 'store'}"]


def assert_whole_or_nothing(place: Path, package: Package) -> None:
    """What has a package's name is that package."""
    tree = place / package.digest.removeprefix("sha256:")
    if tree.exists():
        assert package_tree.read(tree, package.digest).files == package.files


def left(place: Path) -> list[str]:
    return [path.name for path in place.glob(".*")]


def test_publishing_to_a_directory(package: Package, tmp_path: Path) -> None:
    store = tmp_path / "store"
    points = 0
    for points in walk(publish_to_directory, package, f"dir:{store}", below=tmp_path):  # noqa: B007  # their number is looked at
        assert_whole_or_nothing(store, package)
        reference = Directory().publish(package, f"dir:{store}", [SBOM])
        assert Directory().attachments(reference) == [SBOM]
        assert left(store) == []
        shutil.rmtree(store)
    assert points > 15


def test_publishing_a_project_by_the_command(tmp_path: Path, enarx_deploy: Program) -> None:
    """The stages before it, too: records, caches, and a module that is compiled in advance."""
    place, points = tmp_path / "place", 0
    project = make_project(place)
    for points in walk(publish_by_the_command, place, below=place, every=31):  # noqa: B007  # as below
        ended = enarx_deploy(*publishing(place), env=places(place))
        assert ended.returncode == 0, ended.stderr
        package_tree.read(place / "store" / ended.stdout.strip().rpartition(":")[2])
        assert [path for path in place.rglob(".*") if path != project / ".enarx"] == []
        assert list((place / "TMPDIR").iterdir()) == []
        shutil.rmtree(place)
        make_project(place)
    assert points > 100


def make_project(place: Path) -> Path:
    project = place / "project"
    project.mkdir(parents=True)
    (project / "main.wasm").write_bytes(b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\7\x0a\1\6_start\0\0\x0a\4\1\2\0\x0b")
    (project / "Enarx.toml").write_text("[package]\naot = true\n")
    places(place)
    return project


def test_fetching_from_a_directory(package: Package, tmp_path: Path) -> None:
    into = tmp_path / "into"
    reference = Directory().publish(package, f"dir:{tmp_path / 'store'}")
    points = 0
    for points in walk(fetch_from_directory, reference, into, below=tmp_path):  # noqa: B007  # as above
        assert_whole_or_nothing(into, package)
        assert Directory().fetch(reference, into).files == package.files
        assert left(into) == []
        shutil.rmtree(into)
    assert points > 15


def test_fetching_from_an_oci_registry(plain_registry: Server, package: Package, tmp_path: Path) -> None:
    into = tmp_path / "into"
    reference = Oci().publish(package, plain_registry.reference("killed/fetching"))
    points = 0
    for points in walk(fetch_from_oci, reference, into, below=tmp_path):  # noqa: B007  # as above
        assert_whole_or_nothing(into, package)
        assert Oci().fetch(reference, into).files == package.files
        assert left(into) == []
        shutil.rmtree(into)
    assert points > 10


def test_publishing_to_an_oci_registry(plain_registry: Server, package: Package, tmp_path: Path) -> None:
    reference = plain_registry.reference(f"killed/publishing-{POINT}")
    points = seen = 0
    for points in walk(publish_to_oci, package, reference):
        named = reference.replace(POINT, str(points))
        with contextlib.suppress(NotPublished):
            assert Oci().attachments(named) == [SBOM]
            assert Oci().fetch(named, tmp_path / "seen").files == package.files
            seen += 1
        pinned = Oci().publish(package, named, [SBOM])
        assert Oci().resolve(named).digest == package.digest
    assert Oci().fetch(pinned, tmp_path / "into").files == package.files
    assert Oci().attachments(pinned) == [SBOM]
    assert points > 30
    assert seen < 3, "those at which nothing is left but a look at what was set"
