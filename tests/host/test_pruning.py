"""What earlier runs left: the latest of it stays, and whatever anything still names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enarx_deploy import pruning, records
from enarx_deploy.models import Endpoint


@pytest.fixture
def state(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def digest(number: int) -> str:
    return f"{number:064x}"


def package(store: Path, number: int) -> Path:
    """One that was made at the time of its number."""
    tree = store / digest(number)
    for folder in (tree, tree.with_name(f"{tree.name}.attachments")):
        folder.mkdir(parents=True)
        (folder / "file").write_text("content")
        os.utime(folder, (number, number))
    return tree


def there(store: Path) -> set[int]:
    trees = {path.name.removesuffix(".attachments") for path in store.glob("*")}
    assert {f"{name}{end}" for name in trees for end in ("", ".attachments")} == {path.name for path in store.glob("*")}
    return {int(name, 16) for name in trees}


def test_a_project_keeps_what_its_stages_name_and_the_latest(tmp_path: Path, state: Path) -> None:
    work_dir = tmp_path / ".enarx"
    work_dir.mkdir()
    for number in range(20):
        package(work_dir / "packages", number)
    saved = [
        records.save(work_dir, Endpoint(name="e", host=f"sha256:{digest(number)}", port=number, prot="tls"))
        for number in range(100)
    ]
    for number, one in enumerate(saved):
        os.utime(work_dir / "records" / f"{one.removeprefix('sha256:')}.json", (number, number))
    records.set_entry(work_dir, "package", "", records.Entry(inputs="", record=saved[3]))
    records.set_entry(work_dir, "deploy", "a", records.Entry(inputs="", record=saved[5]))
    pruning.project(work_dir)
    kept = {number for number, one in enumerate(saved) if records.read(work_dir, one, Endpoint)}
    assert kept == {3, 5, *range(100 - pruning.RECORDS_KEPT, 100)}
    assert there(work_dir / "packages") == {3, 5, *range(20 - pruning.PACKAGES_KEPT, 20)}
    pruning.project(tmp_path / "of-nothing")


def test_a_package_that_any_record_of_the_state_names_stays(state: Path) -> None:
    for number in range(20):
        package(state / "packages", number)
    (state / "packages" / ".new-0").mkdir()
    (state / "keeps" / "a").mkdir(parents=True)
    (state / "keeps" / "a" / "spec.json").write_text(f'{{"package":"sha256:{digest(2)}"}}')
    (state / "services").mkdir()
    (state / "services" / "history.jsonl").write_text(f'{{"root":"/x/packages/{digest(4)}"}}\n')
    pruning.state()
    assert (state / "packages" / ".new-0").is_dir(), "which somebody is making"
    (state / "packages" / ".new-0").rmdir()
    assert there(state / "packages") == {2, 4, *range(20 - pruning.PACKAGES_KEPT, 20)}


def test_beside_a_record_that_is_too_large_to_be_looked_through_nothing_is_removed(state: Path) -> None:
    for number in range(9):
        package(state / "packages", number)
    (state / "services").mkdir()
    with (state / "services" / "service.json").open("wb") as file:
        file.truncate(65 << 20)
    pruning.state()
    assert there(state / "packages") == set(range(9))


def test_nothing_is_removed_while_somebody_is_about_to_name_a_package(state: Path) -> None:
    for number in range(9):
        package(state / "packages", number)
    with pruning.in_use():
        process = subprocess.Popen([sys.executable, "-c", "from enarx_deploy import pruning; pruning.state()"])
        (state / "keeps").mkdir()
        (state / "keeps" / "spec.json").write_text(f'"sha256:{digest(0)}"')
    assert process.wait(timeout=120) == 0
    assert 0 in there(state / "packages")
