"""What is wrong with a manifest: a fault, and how a path or a value is written in its message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from enarx_toml.positions import Path

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")  # of a URL; a message ends up in logs
_LONGEST = 60  # characters of a key or a value in a message


class Fault(NamedTuple):
    """One thing that is wrong at `path`, or with the key itself that the path ends in."""

    path: Path
    message: str
    hint: str
    on_key: bool = False


def dotted(path: Path) -> str:
    """The path as `--set` takes it: `files[3].port`, `tls."a.b".roots`."""
    words = ""
    for step in path:
        words += f"[{step}]" if isinstance(step, int) else f".{spelled(step)}"
    return words.removeprefix(".")


def spelled(key: str) -> str:
    """A key as TOML writes it: bare where it can be, else in quotes."""
    return shortened(key) if _BARE.fullmatch(key) else shown(key)


def shown(value: Any) -> str:
    """A value as TOML writes it, on one line and not too long; a table or an array by its kind only."""
    if isinstance(value, str):
        # In ASCII where it holds what a terminal would obey rather than show.
        return shortened(json.dumps(_CREDENTIALS.sub("//...@", value), ensure_ascii=not value.isprintable()))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number that long"  # beyond a limit, Python refuses to print one
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    return shortened(str(value))


def one_of(words: Iterable[str]) -> str:
    """The words in quotes, as a choice: `"a", "b" or "c"`."""
    *most, last = [f'"{word}"' for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def shortened(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely meant to be."""
    # The comparison is quadratic in the length, and no known word is long.
    import difflib  # which a manifest without faults does not need

    return next(iter(difflib.get_close_matches(word[:_LONGEST], list(known), n=1)), None)
