"""`enarx-deploy inspect`: what a wasm module is made of, and what its imports let it do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.wasm_report import Report

_PAGE = 64  # KiB of a page of memory


@click.command()
@common_options()
@click.argument("file", required=False, metavar="[FILE.wasm]", type=click.Path(path_type=Path))
@click.option(
    "--functions",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    metavar="COUNT",
    help="List that many of the largest functions.",
)
def command(context: Context, file: Path | None, functions: int) -> None:
    """Show what a module is made of: sections and functions by size, imports and what they let it do, exports, memory,
    what made it, and whether a Keep can run it. Without FILE it is the module that the project last compiled.

    Nothing of the module is run. A module that a Keep cannot run is shown all the same, and says why.
    """
    from enarx_deploy.wasm import load
    from enarx_deploy.wasm_report import report

    path = file or _last_compiled(context.directory)
    found = report(load(path), str(path), largest=functions)
    context.emit(lambda: "\n".join(_lines(str(path), found)), {"file": str(path), **_fields(found)})


def _fields(found: Report) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(found)


def _last_compiled(directory: Path) -> Path:
    from enarx_deploy.project import WORK_DIRECTORY

    path = directory / WORK_DIRECTORY / "main.wasm"
    if not path.is_file():
        raise UsageError(f"{directory} has no compiled module", hint="`enarx-deploy compile` makes it, or name a FILE")
    return path


def _lines(path: str, found: Report) -> Iterator[str]:
    from enarx_deploy.sizes import size

    yield f"{path}: {size(found.size)}, {found.sha256}"
    if found.runs_in_a_keep:
        yield f'a Keep can run it; it starts with the export "{found.entry}"'
    else:
        yield f"a Keep cannot run it: {found.problem}"
        yield f"  hint: {found.hint}"
    for head, lines in _parts(found):
        yield ""
        yield head
        yield from (f"  {line}" for line in lines)


def _parts(found: Report) -> Iterator[tuple[str, list[str]]]:
    yield "sections", _sections(found)
    if found.largest:
        yield f"largest of {found.functions:,} functions", _functions(found)
    yield "imports let it", _imports(found)
    yield "exports", [f"{exported.kind} {_plain(exported.name)}" for exported in found.exports] or ["none"]
    yield "memory", _memory(found) or ["none"]
    yield "made by", _made_by(found)
    yield "built for", [" ".join(map(_plain, found.target_features)) or "it does not say which features"]
    if found.faults:
        yield "cannot be read", list(map(_plain, found.faults))


def _sections(found: Report) -> list[str]:
    from enarx_deploy.cli.table import table

    ordered = sorted(found.sections, key=lambda section: -section.size)
    rows = [
        (
            _plain(section.name),
            f"{section.size:>11,}",
            f"{100 * section.size / found.size:>5.1f} %",
            "" if section.entries is None else f"{section.entries:,}",
        )
        for section in ordered
    ]
    return table(("SECTION", f"{'BYTES':>11}", f"{'SHARE':>7}", "ENTRIES"), rows).splitlines()


def _functions(found: Report) -> list[str]:
    from enarx_deploy.cli.table import table

    rows = [(f"{one.size:>11,}", str(one.index), _plain(one.name or "-")) for one in found.largest]
    return table((f"{'BYTES':>11}", "INDEX", "NAME"), rows).splitlines()


def _imports(found: Report) -> list[str]:
    if not found.imports:
        return ["do nothing but compute: it imports nothing"]
    return [
        line for ability in found.imports for line in (ability.lets_it, f"    {' '.join(map(_plain, ability.imports))}")
    ]


def _memory(found: Report) -> list[str]:
    return [
        f"{memory.minimum * _PAGE:,} KiB at the start, "
        + ("no maximum of its own" if memory.maximum is None else f"{memory.maximum * _PAGE:,} KiB at most")
        for memory in found.memories
    ]


def _made_by(found: Report) -> list[str]:
    said = [f"{one.field}: {one.name} {one.version}".rstrip() for one in found.producers]
    names = "stripped: no names, no debugging information" if found.stripped else "not stripped"
    return [*map(_plain, said), names]


def _plain(text: str) -> str:
    from enarx_deploy.wasm import printable

    return printable(text)
