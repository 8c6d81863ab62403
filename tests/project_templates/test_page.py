"""`docs/templates.md` shows what there is: each template, what it is, and what builds it."""

from __future__ import annotations

import re
from pathlib import Path

from enarx_deploy import choice
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.project import load_project
from enarx_deploy.template import templates

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| \[`([^`]+)`\]\(\.\./templates/([^/]+)/README\.md\) \| ([^|]+) \| `([^`]+)` \|$", re.MULTILINE)


def toolchain_of(name: str) -> str:
    toolchain, _ = choice.toolchain(load_project(ROOT / "templates" / name), PluginManager())
    assert toolchain is not None
    return toolchain.name


def test_each_template_has_its_row() -> None:
    rows = ROW.findall((ROOT / "docs/templates.md").read_text())
    expected = [(name, name, known.description, toolchain_of(name)) for name, known in templates().items()]
    assert rows == expected
