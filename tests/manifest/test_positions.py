"""The index of positions, held against tomli on documents of every form."""

from __future__ import annotations

import datetime
import json
import re

import pytest
import tomli
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_toml.positions import Positions

DOCUMENT = '''\
# a comment with [brackets] and "quotes"
title = "x" # more
"quoted key".'a.b'.plain = 'y'
  indented = """
[not a header]
key = 1 \\" """

list = [ "a", # one
  ["b", { c = 'd', e.f = 2 }],
]

[table]
date = 1979-05-27 07:32:00
[table.below] # reopened later
x = -inf

[[items]]
name = "first"
[[items.parts]]
n = 0
[[items.parts]]
n = 1
[[items]]
[items.settings]
deep = { a.b = { c = [[], {}] } }
[[items.parts]]
n = 2
[ other . "k" ]
z = \'\'\'it\'s ]\'\'\'\'
'''
PLACES = {  # path: key, value
    ("title",): ((2, 1), (2, 9)),
    ("quoted key",): ((3, 1), (3, 1)),
    ("quoted key", "a.b"): ((3, 14), (3, 14)),
    ("quoted key", "a.b", "plain"): ((3, 20), (3, 28)),
    ("indented",): ((4, 3), (4, 14)),
    ("list",): ((8, 1), (8, 8)),
    ("list", 0): ((8, 10), (8, 10)),
    ("list", 1, 0): ((9, 4), (9, 4)),
    ("list", 1, 1, "c"): ((9, 11), (9, 15)),
    ("list", 1, 1, "e", "f"): ((9, 22), (9, 26)),
    ("table",): ((12, 2), (12, 1)),
    ("table", "date"): ((13, 1), (13, 8)),
    ("table", "below"): ((14, 8), (14, 1)),
    ("table", "below", "x"): ((15, 1), (15, 5)),
    ("items",): ((17, 3), (17, 1)),
    ("items", 0): ((17, 1), (17, 1)),
    ("items", 0, "name"): ((18, 1), (18, 8)),
    ("items", 0, "parts"): ((19, 9), (19, 1)),
    ("items", 0, "parts", 0, "n"): ((20, 1), (20, 5)),
    ("items", 0, "parts", 1): ((21, 1), (21, 1)),
    ("items", 0, "parts", 1, "n"): ((22, 1), (22, 5)),
    ("items", 1): ((23, 1), (23, 1)),
    ("items", 1, "settings"): ((24, 8), (24, 1)),
    ("items", 1, "settings", "deep", "a", "b", "c"): ((25, 18), (25, 22)),
    ("items", 1, "parts", 0, "n"): ((27, 1), (27, 5)),
    ("other",): ((28, 3), (28, 1)),
    ("other", "k"): ((28, 11), (28, 1)),
    ("other", "k", "z"): ((29, 1), (29, 5)),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("path", PLACES)
def test_every_form_of_key_and_value(path, newline):
    tomli.loads(DOCUMENT)
    index = Positions(DOCUMENT.replace("\n", newline))
    assert (index.key(path), index.value(path)) == PLACES[path]


def test_columns_count_characters():
    assert Positions('a = ["€𝄞", 1]').value(("a", 1)) == (1, 12)


def test_what_lies_too_deep_is_passed_over():
    keys = ".".join("abcdefghij")
    deep = "[" * 100 + "]" * 100
    text = f'{keys} = 1\n[[{keys}x]]\n{keys} = {{ k = "}}" }}\n[y]\nz = [{deep}, "]", 1979-05-27 07:32:00]\nlast = 1\n'
    tomli.loads(text)
    index = Positions(text)
    assert tuple("abcdefgh") in index
    assert tuple("abcdefghi") not in index
    assert index.value(("y", "last")) == (6, 8)


KEYS = st.text(max_size=6) | st.sampled_from(["a", "b", "a-b_1", "1", "", ".", "'", '"', "#", "[x]", "a = 1"])
STRINGS = st.text(max_size=20) | st.sampled_from(['"""', "'''", "'", '"', "\\", "\n", "# no", "[a]", "}\n", "a''b"])
SCALARS = (
    STRINGS
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.datetimes(min_value=datetime.datetime(1000, 1, 1))
    | st.dates()
    | st.times()
)


def nested(inner):
    table = st.dictionaries(KEYS, inner, max_size=3)
    return st.lists(inner, max_size=3) | table | st.lists(table, min_size=1, max_size=3)


TABLES = st.dictionaries(KEYS, st.recursive(SCALARS, nested, max_leaves=15), max_size=5)


class Writer:
    """Writes a table as TOML in every form, and keeps where it wrote each key and each value."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.newline = draw(st.sampled_from(["\n", "\r\n"]))
        self.lines = [""]
        self.places = {}

    def write(self, text):
        self.lines[-1] += text

    def end_line(self):
        self.write(self.draw(st.sampled_from(["", " ", "# [c]", '#"', "\t# a = 1"])) + self.newline)
        self.lines.append("")

    def here(self):
        return len(self.lines), len(self.lines[-1]) + 1

    def keep(self, path, key, value):
        if len(path) <= 8:
            self.places.setdefault(path, (key, value))

    def one_of(self, *choices):
        return self.draw(st.sampled_from(choices))

    def table(self, table, path, header):
        """The keys of a table, then the tables below it that get a header of their own."""
        later = []
        for key, value in table.items():
            if self.has_header(value) and self.one_of(True, False):
                later.append((key, value))
            elif isinstance(value, dict) and value and self.one_of(True, False):
                self.dotted_pairs(key, value, path)
            else:
                self.pair([key], value, path)
                self.end_line()
            if self.one_of(True, False):
                self.end_line()
        for key, value in later:
            self.with_header(key, value, path, header)

    def has_header(self, value):
        tables = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        return isinstance(value, dict) or tables

    def with_header(self, key, value, path, header):
        steps = [*header, (key, (*path, key))]
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            below = (*path, key, index) if isinstance(value, list) else (*path, key)
            start = self.here()
            self.write("[[" if isinstance(value, list) else self.one_of("[", "[ "))
            for number, (name, at) in enumerate(steps):
                self.write(self.one_of(".", " . ") if number else "")
                self.keep(at, self.here(), start)
                self.write(self.key(name))
            self.write("]]" if isinstance(value, list) else self.one_of("]", " ]"))
            self.keep(below, start, start)
            self.end_line()
            self.table(item, below, [*steps[:-1], (key, below)])

    def dotted_pairs(self, key, table, path):
        for below, value in table.items():
            self.pair([key, below], value, path)
            self.end_line()

    def pair(self, keys, value, path):
        written = []
        for number, key in enumerate(keys):
            self.write(self.one_of(".", " . ", "\t.") if number else "")
            path = (*path, key)
            written.append((path, self.here()))
            self.write(self.key(key))
        self.write(self.one_of("=", " = ", "\t=  "))
        for at, place in written:
            self.keep(at, place, self.here() if at == path else place)
        self.value(value, path)

    def value(self, value, path):
        if isinstance(value, dict):
            self.inline_table(value, path)
        elif isinstance(value, list):
            self.array(value, path)
        elif isinstance(value, str):
            self.string(value)
        else:
            self.write(tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n"))

    def inline_table(self, table, path):
        self.write("{")
        for number, (key, value) in enumerate(table.items()):
            self.write(", " if number else " ")
            self.pair([key], value, path)
        self.write(" }")

    def array(self, items, path):
        self.write("[")
        for index, item in enumerate(items):
            self.write("," if index else "")
            if self.one_of(True, False):
                self.end_line()
            self.keep((*path, index), self.here(), self.here())
            self.value(item, (*path, index))
        if self.one_of(True, False):
            self.write(", " if items else "")
            self.end_line()
        self.write("]")

    def string(self, text):
        if self.one_of(True, False) and re.fullmatch(r"[^'\x00-\x08\x0a-\x1f\x7f]*", text):
            self.write(f"'{text}'")
        elif self.one_of(True, False) and re.fullmatch(r"'{0,2}([^'\x00-\x08\x0a-\x1f\x7f]'{0,2})*", text):
            self.write(f"'''{text}'''")
        elif self.one_of(True, False):
            self.write(f'""{basic(text)}""')
        else:
            self.write(basic(text))

    def key(self, key):
        if self.one_of(True, False) and re.fullmatch(r"[A-Za-z0-9_-]+", key):
            return key
        if self.one_of(True, False) and re.fullmatch(r"[^'\x00-\x08\x0a-\x1f\x7f]*", key):
            return f"'{key}'"
        return basic(key)


def basic(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")


@settings(max_examples=300)
@given(st.data(), TABLES)
def test_every_key_and_value_is_found_where_it_was_written(data, table):
    writer = Writer(data.draw)
    writer.table(table, (), [])
    text = "".join(writer.lines)
    assert tomli.loads(text) == table
    index = Positions(text)
    found = {path: (index.key(path), index.value(path)) for path in index._offsets}
    assert found == writer.places
