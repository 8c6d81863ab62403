"""Entry points are found where installers put them, as `importlib.metadata` finds them."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from enarx_deploy import entry_points

INSTALLED = {"dist-info": "METADATA", "egg-info": "PKG-INFO"}


def install(site: Path, folder: str, listed: str, name: str = "mine", version: str = "1.2") -> None:
    metadata = site / folder
    metadata.mkdir(parents=True)
    headers = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: of the description\n"
    (metadata / INSTALLED[folder.rpartition(".")[2]]).write_text(headers)
    (metadata / "entry_points.txt").write_text(listed)


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two places of the search path, the earlier one first."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "missing"), str(second)])
    return first, second


@pytest.mark.parametrize("folder", ["mine-1.2.dist-info", "mine-1.2.egg-info", "mine.egg-info"])
def test_a_distribution_is_named_by_its_metadata(sites: tuple[Path, Path], folder: str) -> None:
    install(sites[1], folder, "[other]\nx = no\n[things]\n# a note\none = mine.one\ntwo=mine.two:it\n[rest]\ny = no\n")
    assert entry_points.of_group("things") == [
        ("one", "mine.one", "mine", "1.2"),
        ("two", "mine.two:it", "mine", "1.2"),
    ]
    assert entry_points.of_group("none") == []


@pytest.mark.parametrize("earlier", ["[things]\none = newer\n", ""], ids=["other", "none"])
def test_the_first_of_a_name_on_the_path_is_the_one(sites: tuple[Path, Path], earlier: str) -> None:
    install(sites[0], "My_Own-2.0.dist-info", earlier, "My.Own", "2.0")
    install(sites[1], "my_own-1.0.dist-info", "[things]\none = older\n", "my-own", "1.0")
    assert entry_points.of_group("things") == ([("one", "newer", "My.Own", "2.0")] if earlier else [])


def test_what_pip_is_about_to_remove_counts_no_more(sites: tuple[Path, Path]) -> None:
    install(sites[0], "~ine-1.2.dist-info", "[things]\none = older\n")
    install(sites[0], "mine-1.2.dist-info", "[things]\none = newer\n")
    assert entry_points.of_group("things") == [("one", "newer", "mine", "1.2")]


@pytest.mark.parametrize("group", ["console_scripts", "enarx_deploy", "pytest11"])
def test_they_are_those_that_the_standard_library_finds(group: str) -> None:
    known = {(entry.name, entry.value) for entry in importlib.metadata.entry_points(group=group)}
    assert known
    assert {(entry.name, entry.value) for entry in entry_points.of_group(group)} == known
