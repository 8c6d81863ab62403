"""What is fetched stays for the next time, as long as it is among the latest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enarx_deploy import fetching, package_tree, pruning, reference
from enarx_deploy.models import Package
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.protocols import Attachment
from enarx_registries.directory import Directory

SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b"{}")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory; the user's own are not touched."""
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"ENARX_DEPLOY_{name}_DIR", str(tmp_path / name))
    return tmp_path / "made"


def test_the_cache_keeps_the_packages_that_were_asked_for_last(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "KEPT", 2)
    published = []
    for number in range(3):
        tree = package_tree.lay_out([("main.wasm", [bytes([number])])], made)
        published.append(reference.parse(Directory().publish(tree, f"dir:{tmp_path / 'store'}", [SBOM])))
    plugins = PluginManager.from_environment()

    def fetch(number: int, into: Path | None = None) -> Path:
        return Path(fetching.fetch(published[number], plugins, lambda _: None, into).root)

    first, second = fetch(0), fetch(1)
    assert fetch(0) == first, "which makes it the latest"
    third = fetch(2)
    assert trees_in(first.parent) == {first, third}
    assert fetch(1) == second
    mine = tmp_path / "mine"
    fetched = {fetch(number, mine) for number in range(3)}
    assert trees_in(mine) == fetched, "a directory of the user's own is not pruned"
    assert len(fetched) == 3


def test_of_two_that_come_within_one_tick_of_the_file_systems_clock_the_later_is_kept(tmp_path: Path) -> None:
    trees = [tmp_path / (digit * 64) for digit in "fedcba9876543210"]
    for tree in trees:
        tree.mkdir()
    for tree in trees:
        pruning.make_latest(tree)
    pruning.arrived(tmp_path, 1)
    assert list(tmp_path.glob("[!.]*")) == [trees[-1]]


def trees_in(place: Path) -> set[Path]:
    """The packages in a directory, each of which has its attachments beside it, and nothing else is there."""
    found = set(place.glob("[!.]*"))
    trees = {path for path in found if path.suffix != ".attachments"}
    assert found == trees | {tree.with_name(f"{tree.name}.attachments") for tree in trees}
    return trees


def test_what_is_just_being_fetched_is_removed_by_nobody(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = package_tree.lay_out([("main.wasm", [b"module"])], made)
    published = reference.parse(Directory().publish(tree, f"dir:{tmp_path / 'store'}"))
    fetch = Directory.fetch

    def while_another_prunes(*arguments: Any) -> Package:
        package = fetch(*arguments)
        pruning.arrived(Path(package.root).parent, 0)
        return package

    monkeypatch.setattr(Directory, "fetch", while_another_prunes)
    package = fetching.fetch(published, PluginManager.from_environment(), lambda _: None)
    assert (Path(package.root) / "main.wasm").read_bytes() == b"module"
