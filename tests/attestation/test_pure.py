"""The library decides by its arguments alone: it reaches no network, no file and no clock, and keeps nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import enarx_attestation

SOURCES = sorted(Path(enarx_attestation.__file__).parent.glob("*.py"))
OUTSIDE = {"asyncio", "ftplib", "http", "httpx", "io", "os", "pathlib", "random", "secrets", "shutil", "socket", "ssl"}
OUTSIDE |= {"subprocess", "sys", "tempfile", "threading", "time", "urllib", "uvicorn"}
CALLS = {"now", "utcnow", "today", "open", "getenv", "urlopen"}


def test_it_imports_nothing_of_the_outside() -> None:
    found = {(path.name, module) for path in SOURCES for module in _imported(path)}
    assert not {(name, module) for name, module in found if module.partition(".")[0] in OUTSIDE}
    assert ("der.py", "datetime") in found


def test_it_asks_for_no_time_and_opens_no_file() -> None:
    assert not {(path.name, called) for path in SOURCES for called in _called(path) if called in CALLS}
    assert "replace" in _called(Path(enarx_attestation.__file__).parent / "intel_tcb.py")


def test_no_function_changes_what_belongs_to_a_module() -> None:
    statements = [(path.name, node) for path in SOURCES for node in ast.walk(_tree(path))]
    assert not [name for name, node in statements if isinstance(node, ast.Global)]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def _called(path: Path) -> set[str]:
    functions = [node.func for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    named = {function.id for function in functions if isinstance(function, ast.Name)}
    return named | {function.attr for function in functions if isinstance(function, ast.Attribute)}
