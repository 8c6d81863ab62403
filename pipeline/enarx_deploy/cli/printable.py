"""Text for a terminal, much of which strangers said: registries, other machines, Keeps."""

from __future__ import annotations


def in_a_line(reason: str) -> str:
    """Of a reason of several lines the one for a table: its first, which a trap's backtrace follows."""
    return reason.strip().partition("\n")[0].rstrip(": ")


def printable(text: str) -> str:
    """The text with whatever a terminal would obey written out instead."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)
