"""The reference pages are those that the code makes now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def load():
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load()


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_current(name):
    made = reference.PAGES[name]()
    assert (DOCS / "reference" / name).read_text() == made, "run: python docs/generate_reference.py"


def test_a_page_that_is_not_current_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "PLACE", tmp_path / "reference")
    monkeypatch.setattr(reference, "PAGES", {"hooks.md": reference.hooks_page})
    assert reference.main(["--check"]) == 1
    assert "hooks.md is not current" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
