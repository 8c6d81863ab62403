"""Compare parsed TOML with the types, and find everything that does not fit, where msgspec stops at the first.

The rules are those of `msgspec.convert` in strict mode, read from the same types; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect

from enarx_deploy.manifest.faults import Fault, dotted, nearest, one_of, shown, spelled
from enarx_deploy.manifest.types import Manifest
from enarx_toml.positions import Path

MANIFEST = inspect.type_info(Manifest)

_REFERENCE = "`enarx-deploy schema` prints what every key may be"


def faults(value: Any, node: inspect.Type = MANIFEST, path: Path = ()) -> Iterator[Fault]:
    """Every way in which `value`, found at `path`, is not of the type `node`."""
    kind = bare(node)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        yield from _struct_faults(value, kind, path)
    elif isinstance(kind, inspect.UnionType) and _tag_field(kind) and isinstance(value, dict):
        yield from _variant_faults(value, kind, path)
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        yield from _dict_faults(value, kind, path)
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list) and len(value) >= (kind.min_length or 0):
        for index, item in enumerate(value):
            yield from faults(item, kind.item_type, (*path, index))
    elif not _fits(value, kind):
        wanted = "a string" if isinstance(kind, inspect.StrType) and not isinstance(value, str) else expected(node)
        yield Fault(path, f"`{dotted(path)}` must be {wanted}, not {shown(value)}", _value_hint(value, kind))


def bare(node: inspect.Type) -> inspect.Type:
    """The type without its annotations and without the None that stands for an absent key."""
    while isinstance(node, inspect.Metadata):
        node = node.type
    if isinstance(node, inspect.UnionType) and node.includes_none:
        return bare(next(member for member in node.types if not isinstance(member, inspect.NoneType)))
    return node


def child(node: inspect.Type | None, step: str | int, value: Any) -> inspect.Type | None:
    """The type at `step` below `node`, whose value is `value`; None where the types know no such place."""
    kind = bare(node) if node else None
    if isinstance(kind, inspect.UnionType) and isinstance(value, dict):
        kind = _variants(kind).get(str(value.get(_tag_field(kind))))
    if isinstance(kind, inspect.StructType):
        return next((field.type for field in kind.fields if field.encode_name == step), None)
    if isinstance(kind, inspect.DictType):
        return kind.value_type
    return kind.item_type if isinstance(kind, inspect.VarTupleType) else None


def expected(node: inspect.Type) -> str:
    """What a value of this type is, in words that follow "must be"."""
    while isinstance(node, inspect.Metadata):
        if node.extra and "expected" in node.extra:
            return str(node.extra["expected"])
        node = node.type
    if isinstance(node, inspect.UnionType) and node.includes_none:
        return expected(next(member for member in node.types if not isinstance(member, inspect.NoneType)))
    match node:
        case inspect.StrType():
            return "a string"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"an integer from {node.ge} to {node.le}"
        case inspect.LiteralType():
            return one_of(str(value) for value in node.values)
        case inspect.VarTupleType():
            items = "tables" if _is_table(bare(node.item_type)) else "strings"
            return f"an array of {items}" + (" that is not empty" if node.min_length else "")
    return "a table"


def _struct_faults(table: dict[str, Any], struct: inspect.StructType, path: Path) -> Iterator[Fault]:
    known = {field.encode_name: field for field in struct.fields}
    for key, value in table.items():
        if key in known:
            yield from faults(value, known[key].type, (*path, key))
        elif key != struct.tag_field:
            yield _unknown_key(key, struct, path)
    for name, field in known.items():
        if field.required and name not in table:
            wanted = expected(field.type)
            yield Fault(path, f"{_place(path, struct)} lacks `{name}`", f"add `{name} = ...`: {wanted}")


def _variant_faults(table: dict[str, Any], union: inspect.UnionType, path: Path) -> Iterator[Fault]:
    tag_field, variants = _tag_field(union), _variants(union)
    tags = one_of(variants)
    tag = table.get(tag_field)
    if tag is None:
        yield Fault(path, f"`{dotted(path)}` lacks `{tag_field}`", f"add `{tag_field} = ...`: {tags}")
    elif not isinstance(tag, str) or tag not in variants:
        message = f"`{dotted((*path, tag_field))}` must be {tags}, not {shown(tag)}"
        yield Fault((*path, tag_field), message, _nearest_hint(tag, variants))
    else:
        for fault in _struct_faults(table, variants[tag], path):
            yield _with_owner(fault, variants, tag)


def _dict_faults(table: dict[str, Any], kind: inspect.DictType, path: Path) -> Iterator[Fault]:
    for key, value in table.items():
        if not _fits(key, bare(kind.key_type)):
            message = f"the key {shown(key)} in `{dotted(path)}` must be {expected(kind.key_type)}"
            yield Fault((*path, key), message, _REFERENCE, on_key=True)
        yield from faults(value, kind.value_type, (*path, key))


def _unknown_key(key: str, struct: inspect.StructType, path: Path) -> Fault:
    known = _keys(struct)
    near = nearest(key, known)
    hint = f"did you mean `{near}`?" if near else f"{_place(path, struct)} takes: {', '.join(known)}"
    place = f" in {_place(path, struct)}" if path else ""
    return Fault((*path, key), f"unknown key `{spelled(key)}`{place}", hint, on_key=True)


def _with_owner(fault: Fault, variants: dict[str, inspect.StructType], tag: str) -> Fault:
    """Say of an unknown key that it belongs to another kind, where it does."""
    owners = [name for name, struct in variants.items() if fault.path[-1] in _keys(struct)]
    if not fault.on_key or not owners:
        return fault
    hint = f'`{fault.path[-1]}` is a key of kind {one_of(owners)}; "{tag}" takes: {", ".join(_keys(variants[tag]))}'
    return fault._replace(hint=hint)


def _keys(struct: inspect.StructType) -> list[str]:
    return [field.encode_name for field in struct.fields]


def _place(path: Path, struct: inspect.StructType) -> str:
    if not path:
        return "the manifest"
    return f"`{dotted(path)}`" + (f' (kind "{struct.tag}")' if struct.tag else "")


def _fits(value: Any, kind: inspect.Type) -> bool:
    match kind:
        case inspect.StrType():
            return isinstance(value, str) and (kind.pattern is None or re.search(kind.pattern, value) is not None)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return type(value) is int and (kind.ge or 0) <= value <= (kind.le or 0)
        case inspect.LiteralType():
            return isinstance(value, str) and value in kind.values
        case inspect.UnionType():
            return any(_fits(value, bare(member)) for member in kind.types)
    return False


def _value_hint(value: Any, kind: inspect.Type) -> str:
    match kind:
        case inspect.LiteralType() if isinstance(value, str):
            return _nearest_hint(value, [str(known) for known in kind.values])
        case inspect.IntType() if isinstance(value, str) and value.isdecimal():
            return "a number is written without quotes"
        case inspect.StrType() if isinstance(value, int | float):
            return f'a string is written in quotes: "{shown(value)}"'
        case inspect.VarTupleType() if isinstance(value, str):
            return f"an array is written in brackets: [{shown(value)}]"
        case inspect.VarTupleType() if isinstance(value, dict):
            return "an array of tables is written with two brackets: [[...]]"
    return _REFERENCE


def _nearest_hint(value: Any, known: Iterable[str]) -> str:
    near = nearest(str(value), known)
    return f'did you mean "{near}"?' if near else _REFERENCE


def _is_table(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.StructType | inspect.UnionType)


def _tag_field(union: inspect.UnionType) -> str:
    """The key that tells the members of a union apart; empty where they are no tables."""
    member = bare(union.types[0])
    return (member.tag_field or "") if isinstance(member, inspect.StructType) else ""


def _variants(union: inspect.UnionType) -> dict[str, inspect.StructType]:
    return {str(member.tag): member for member in union.types if isinstance(member, inspect.StructType)}
