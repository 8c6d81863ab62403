"""Lines of several Keeps, told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.cli.several_logs import Lines


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
