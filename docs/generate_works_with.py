"""Write `docs/works-with.md` from what the tests really ran.

    pytest tests/languages tests/project_templates && python docs/generate_works_with.py

The tests leave their records in the user's cache (`tests/works_with.py`). A record of a test that is gone is left out.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "works-with.md"

LANGUAGES = {
    "c": "C",
    "cpp": "C++",
    "rust": "Rust",
    "go": "Go",
    "tinygo": "Go (TinyGo)",
    "zig": "Zig",
    "assemblyscript": "AssemblyScript",
    "javascript": "JavaScript",
    "python": "Python",
    "swift": "Swift",
    "dotnet": "C#",
    "grain": "Grain",
    "wat": "WebAssembly text",
    "prebuilt": "any (a module as it is)",
    "command": "any (a command of the project)",
}
"""What a toolchain's language is called; one that is not here goes by its own name."""

_HEAD = """\
<!-- Made by docs/generate_works_with.py from what tests ran; do not edit. -->

# Works with

Programs that tests built and ran in a Keep, with the toolchain that built them. A row is there because its test ran
here and passed; the day is when. It says that this program did what its test asks, and nothing of other programs or
versions.
"""


def records(place: Path) -> list[dict[str, Any]]:
    """What the tests left, of tests that are still there."""
    found = [json.loads(path.read_text()) for path in sorted(place.glob("*.json"))]
    return [record for record in found if is_there(record["test"])]


def is_there(test: str) -> bool:
    """Whether there is such a test."""
    file, _, rest = test.partition("::")
    function = rest.partition("[")[0]
    path = ROOT / file
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text())
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree))


def page(found: Iterable[dict[str, Any]]) -> str:
    """The page; the same records make the same page."""
    kept = sorted(found, key=lambda record: (LANGUAGES.get(record.get("toolchain", ""), "~"), record["test"]))
    ran = [_row(record) for record in kept if record["result"] == "passes"]
    failed = [f"- {_link(record)}" for record in kept if record["result"] == "fails"]
    skipped = [f"- {_link(record)}: {_cell(record['reason'])}" for record in kept if record["result"] == "skipped"]
    parts = [_HEAD, f"On {platform.system()}, {platform.machine()}.\n"]
    parts.append(
        "\n".join(["| language | toolchain | program | result | day | test |", "|---|---|---|---|---|---|", *ran])
        + "\n"
    )
    if failed:
        parts.append("\n".join(["## Failed\n", *failed]) + "\n")
    if skipped:
        parts.append("\n".join(["## Not run here\n", *skipped]) + "\n")
    return "\n".join(parts)


def _row(record: dict[str, Any]) -> str:
    language = LANGUAGES.get(record["toolchain"], record["toolchain"])
    toolchain = f"`{record['toolchain']}`: {_cell(record['version'])}"
    return f"| {language} | {toolchain} | {_cell(record['program'])} | passes | {record['day']} | {_link(record)} |"


def _link(record: dict[str, Any]) -> str:
    file, _, name = record["test"].partition("::")
    return f"[`{_cell(name)}`](../{file})"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def main() -> int:
    """Write the page; the status is 1 where there is nothing to write of."""
    sys.path.insert(0, str(ROOT))
    from tests.works_with import place

    found = records(place())
    if not found:
        print(f"no records are in {place()}: run the tests first", file=sys.stderr)
        return 1
    PAGE.write_text(page(found))
    print(f"{len(found)} tests in {os.path.relpath(PAGE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
