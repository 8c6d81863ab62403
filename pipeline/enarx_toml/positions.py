"""Where in a TOML text each key and each value stands, so that an error can point at it; tomli keeps no positions.

Only text that tomli has accepted is read here, so this code recognizes and never judges. A path is the way from the
document to a value: keys and, for arrays and arrays of tables, indexes.
"""

from __future__ import annotations

import re
from bisect import bisect_right

import tomli

Path = tuple[str | int, ...]

KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
"""One part of a dotted key."""

_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\]|\\.)*"|\'[^\']*\''
_TOKEN = re.compile(rf"(?:{_STRING})|#[^\n]*|[\[\]{{}}]|[,\s]+|[^\[\]{{}},#\"'\s][^\[\]{{}},#\"'\n]*", re.DOTALL)
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")

# Manifests and policies are at most five levels deep. What lies deeper is skipped, which bounds the work that a hostile
# file can cause.
_DEPTH = 8


def unquote(part: str) -> str:
    """The key that one part of a dotted key, as matched by KEY, stands for."""
    if part.startswith('"'):
        return str(tomli.loads(f"key = {part}")["key"])
    return part.strip("'")


class Positions:
    """The index of one text. Lines and columns count from 1; columns count characters."""

    def __init__(self, text: str) -> None:
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._offsets = _Reader(text).read()

    def __contains__(self, path: Path) -> bool:
        return path in self._offsets

    def key(self, path: Path) -> tuple[int, int]:
        """Line and column of the key that `path` ends in; of an array's item, those of the item."""
        return self._place(self._offsets[path][0])

    def value(self, path: Path) -> tuple[int, int]:
        """Line and column of the value at `path`; of a table with a header of its own, those of the header."""
        return self._place(self._offsets[path][1])

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[Path, tuple[int, int]] = {}  # path -> offsets of key and value
        self._lengths: dict[Path, int] = {}  # array of tables -> tables so far

    def read(self) -> dict[Path, tuple[int, int]]:
        table: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._offsets

    def _header(self) -> Path:
        start, brackets = self._at, 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        keys = self._dotted_key()
        self._at += brackets
        path: Path = ()
        for name, at in keys:
            path = (*path, name)
            self._note(path, at, start)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        if brackets == 1:
            return path
        array = path[:-1] if isinstance(path[-1], int) else path
        length = self._lengths.get(array, 0)
        self._lengths[array] = length + 1
        self._note((*array, length), start, start)
        return (*array, length)

    def _pair(self, table: Path) -> None:
        path = table
        for name, at in self._dotted_key():
            path = (*path, name)
            self._note(path, at, at)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _dotted_key(self) -> list[tuple[str, int]]:
        parts: list[tuple[str, int]] = []
        while True:
            start = self._skip(_SPACE)
            end = self._skip(KEY)
            # One part more than is noted says that the path is too deep to be noted.
            if len(parts) <= _DEPTH:
                parts.append((unquote(self._text[start:end]), start))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        if path in self._offsets:
            self._offsets[path] = (self._offsets[path][0], self._at)
        opener = self._text[self._at]
        if opener == "[" and len(path) < _DEPTH:
            self._array(path)
        elif opener == "{" and len(path) < _DEPTH:
            self._inline_table(path)
        else:
            self._skip_value()

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip(_BLANK)] != "]":
            item = (*path, index)
            self._note(item, self._at, self._at)
            self._value(item)
            self._skip_comma()
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._text[self._skip(_BLANK)] != "}":
            self._pair(path)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        if self._text[self._skip(_BLANK)] == ",":
            self._at += 1

    def _skip_value(self) -> None:
        depth = 0
        while True:
            start = self._at
            token = self._text[start : self._skip(_TOKEN)]
            depth += (token in {"[", "{"}) - (token in {"]", "}"})
            if depth == 0:
                return

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Go to the end of what `pattern` matches here, and return where that is."""
        match = pattern.match(self._text, self._at)
        if match is None:
            raise AssertionError(f"text that tomli accepts was not recognized at offset {self._at}")
        self._at = match.end()
        return self._at

    def _note(self, path: Path, key: int, value: int) -> None:
        """Keep the first place of a path: a table may be reopened."""
        if len(path) <= _DEPTH:
            self._offsets.setdefault(path, (key, value))
