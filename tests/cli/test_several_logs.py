"""Lines of several Keeps, told apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.cli.several_logs import Lines, Several
from enarx_deploy.plugin_manager import PluginManager


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_whatever_the_pieces_each_line_has_its_head(pieces: list[bytes], ended: bool) -> None:
    text = b"".join(pieces) + (b"\n" if ended else b"")
    lines = Lines(b"id | ")
    shown = b"".join([*map(lines.take, pieces), lines.take(b"\n" if ended else b""), lines.end()])
    *expected, rest = text.split(b"\n")
    assert shown == b"".join(b"id | " + line + b"\n" for line in [*expected, *([rest] if rest else [])])


def test_a_line_without_end_is_shown_in_parts() -> None:
    lines = Lines(b"> ")
    shown = lines.take(b"x" * 200_000) + lines.end()
    assert shown.count(b"> ") == 4
    assert shown.replace(b"> ", b"").replace(b"\n", b"") == b"x" * 200_000


class Talkative:
    """A target whose only Keep has written much."""

    PIECES = 20_000

    def __init__(self) -> None:
        self.read = 0

    def keeps(self) -> list[Any]:
        return [SimpleNamespace(id="id", name="echo", state="running")]

    def logs(self, _: str, **__: object) -> Iterator[bytes]:
        for _piece in range(self.PIECES):
            self.read += 1
            yield b"a line\n"


def test_no_more_is_read_than_is_shown() -> None:
    """Whoever shows it may be slower than who writes it."""
    target, context = Talkative(), SimpleNamespace(plugins=PluginManager())
    followed = Several(cast("Any", context), "echo", cast("Any", target), "stdout", whole_lines=True).follow()
    assert next(followed) == ("id", b"id | a line\n")
    before = -1
    while before != target.read:
        before = target.read
        time.sleep(0.2)
    assert target.read < 200
    assert sum(1 for _ in zip(range(1000), followed, strict=False)) == 1000
