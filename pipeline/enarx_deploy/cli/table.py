"""Rows in columns, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widest: int = sys.maxsize) -> str:
    """The rows under their head, each column as wide as its widest cell, the last as wide as it likes.

    A cell of more than `widest` characters widens no column: its row alone is shifted, and the others stay readable.
    """
    widths = [_width((row[column] for row in (head, *rows)), widest) for column in range(len(head))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _width(cells: Iterable[str], widest: int) -> int:
    return max((len(cell) for cell in cells if len(cell) <= widest), default=widest)
