"""The example and the reference are those of the types. `python tests/manifest/test_documents.py` writes the tables."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import tomli

from enarx_deploy.manifest import Manifest, parse, types
from enarx_deploy.manifest.shape import MANIFEST, bare, expected

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "Enarx.toml.example"
REFERENCE = ROOT / "docs" / "manifest.md"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def test_the_example_as_it_stands_is_stdio():
    loaded = parse(EXAMPLE.read_bytes(), "Enarx.toml.example")
    assert loaded.manifest == Manifest(files=(types.Stdin(), types.Stdout(), types.Stderr()))
    assert loaded.warnings == []


def test_the_example_with_every_key_uncommented_is_good():
    loaded = parse(uncommented().encode(), "Enarx.toml.example")
    assert len(loaded.manifest.files) == 6
    assert loaded.warnings == []


def test_every_line_of_the_example_explains_or_is_a_key():
    for line in EXAMPLE.read_text().splitlines():
        assert re.match(r"(##( |$)|# (\[|\w+ = )|\[\[files\]\]$|kind = |$)", line), line


def test_the_example_has_every_key():
    named = {struct.__name__: set(struct.__struct_fields__) for struct in structs()}
    shown = {name: set() for name in named}
    for path, value in tables(tomli.loads(uncommented()), MANIFEST):
        shown[path] |= set(value) - {"kind"}
    assert shown == named


def test_the_example_shows_the_defaults():
    for name, table in tables(tomli.loads(uncommented()), MANIFEST):
        struct = getattr(types, name)
        for field in msgspec.structs.fields(struct):
            plain = (
                isinstance(field.default, str | int | tuple) and field.default != () and not is_struct(field.default)
            )
            if plain and field.name in table:
                default = list(field.default) if isinstance(field.default, tuple) else field.default
                assert table[field.name] == default, f"{name}.{field.name}"


BLOCKS = re.findall(r"(?:^# .*\n)+", EXAMPLE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_any_one_block_of_the_example_can_be_uncommented(block):
    text = EXAMPLE.read_text().replace(block, re.sub(r"(?m)^# ", "", block), 1)
    assert tomli.loads(text) != tomli.loads(EXAMPLE.read_text())


@pytest.mark.parametrize("name", [struct.__name__ for struct in (types.Manifest, types.Listen, types.Connect)])
def test_the_reference_has_a_table_of(name):
    assert f"<!-- table: {name} -->" in REFERENCE.read_text()


def test_the_tables_of_the_reference_are_current():
    text = REFERENCE.read_text()
    assert {match[2] for match in TABLE.finditer(text)} == {struct.__name__ for struct in structs()}
    assert text == with_tables(text), "run: python tests/manifest/test_documents.py"


def uncommented():
    return re.sub(r"(?m)^# ", "", EXAMPLE.read_text())


def structs():
    """Every table that a manifest can have."""
    return [
        value
        for value in vars(types).values()
        if isinstance(value, type) and issubclass(value, types.Table) and value is not types.Table
    ]


def is_struct(value):
    return isinstance(value, msgspec.Struct)


def tables(value, node):
    """Every table below `value`, with the name of its struct."""
    kind = bare(node)
    if isinstance(kind, msgspec.inspect.UnionType) and isinstance(value, dict):
        kind = next(member for member in kind.types if member.tag == value["kind"])
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls.__name__, value
        for field in kind.fields:
            if field.encode_name in value:
                yield from tables(value[field.encode_name], field.type)
    elif isinstance(kind, msgspec.inspect.DictType):
        for item in value.values():
            yield from tables(item, kind.value_type)
    elif isinstance(kind, msgspec.inspect.VarTupleType):
        for item in value:
            yield from tables(item, kind.item_type)


def with_tables(text):
    return TABLE.sub(lambda match: match[1] + table_of(getattr(types, match[2])) + match[3], text)


def table_of(struct):
    rows = [
        f"| `{field.encode_name}` | {expected(field.type)} | {default_of(field)} | {meaning(field)} |"
        for field in fields(struct)
    ]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def fields(struct):
    return msgspec.inspect.type_info(struct).fields


def default_of(field):
    if field.required:
        return "must be given"
    if field.default is msgspec.inspect.NODEFAULT or field.default in (None, ()) or is_struct(field.default):
        return ""
    return f"`{msgspec.json.encode(field.default).decode()}`"


def meaning(field):
    return field.type.extra_json_schema["description"]


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text()))
