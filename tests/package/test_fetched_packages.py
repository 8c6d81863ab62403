"""What is fetched stays for the next time, as long as it is among the latest."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx_deploy import fetching, package_tree, reference
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.protocols import Attachment
from enarx_registries.directory import Directory

SBOM = Attachment("sbom", "application/vnd.cyclonedx+json", b"{}")


def test_the_cache_keeps_the_packages_that_were_asked_for_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"ENARX_DEPLOY_{name}_DIR", str(tmp_path / name))
    monkeypatch.setattr(fetching, "KEPT", 2)
    published = []
    for number in range(3):
        tree = package_tree.lay_out([("main.wasm", [bytes([number])])], tmp_path / "made")
        published.append(reference.parse(Directory().publish(tree, f"dir:{tmp_path / 'store'}", [SBOM])))
    plugins = PluginManager.from_environment()

    def fetch(number: int, into: Path | None = None) -> Path:
        return Path(fetching.fetch(published[number], plugins, lambda _: None, into).root)

    first, second = fetch(0), fetch(1)
    assert fetch(0) == first, "which makes it the latest"
    third = fetch(2)
    assert sorted(first.parent.iterdir()) == sorted(
        path for tree in (first, third) for path in (tree, tree.with_name(f"{tree.name}.attachments"))
    )
    assert fetch(1) == second
    mine = tmp_path / "mine"
    assert {fetch(number, mine).parent for number in range(3)} == {mine}
    assert len([path for path in mine.iterdir() if path.suffix == ""]) == 3, (
        "a directory of the user's own is not pruned"
    )
