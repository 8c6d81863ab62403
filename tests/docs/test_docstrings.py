"""Who reads a public name of the rooms that others build on or rely on finds what it means, and what it raises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PIPELINE = Path(__file__).parents[2] / "pipeline"
ROOMS = ("enarx_attestation", "enarx_collateral", "enarx_keep", "enarx_signing", "enarx_deploy/protocols")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(node: ast.Module | ast.ClassDef, place: str) -> Iterator[tuple[str, Definition]]:
    """The public definitions of a module or a class, and those below them, by their dotted names."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield f"{place}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{place}.{child.name}")


def raised(node: ast.AST) -> Iterator[str]:
    """The names of the errors that a function raises by itself, but for those in a `try`, which it may catch."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            name = ast.unparse(error).rpartition(".")[2]
            if name[0].isupper():
                yield name
        elif isinstance(child, ast.Try):
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from raised(part)
        elif not isinstance(child, Definition):
            yield from raised(child)


def gaps(tree: ast.Module, place: str) -> Iterator[str]:
    said_of_all = ast.get_docstring(tree)
    if not said_of_all:
        yield f"{place} says nothing of itself"
    for name, node in public(tree, place):
        said = ast.get_docstring(node)
        if not said:
            yield f"{name} says nothing of itself"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not said.startswith("See `"):
            unsaid = set(raised(node)) - {"NotImplementedError"}
            yield from (f"{name} does not say that it raises {e}" for e in unsaid if e not in f"{said} {said_of_all}")


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_say_what_they_mean_and_raise(room: str) -> None:
    files = sorted((PIPELINE / room).rglob("*.py"))
    assert files
    assert [gap for path in files for gap in gaps(ast.parse(path.read_text()), path.stem)] == []


def test_gaps_are_found() -> None:
    source = '''
def unsaid(): ...
class Of:
    """One."""
    def method(self):
        """Does."""
        if self:
            raise KeyError("x")
def caught():
    """Does."""
    try:
        raise KeyError("x")
    except KeyError as error:
        raise errors.Malformed from error
def inherited():
    """See `Of`."""
    raise KeyError("x")
def _private(): ...
'''
    assert list(gaps(ast.parse(source), "m")) == [
        "m says nothing of itself",
        "m.unsaid says nothing of itself",
        "m.Of.method does not say that it raises KeyError",
        "m.caught does not say that it raises Malformed",
    ]
