"""How the work that takes long says what is going on."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with one line of what is going on; shown as a progress line on a terminal."""


def silent(line: str) -> None:
    """A `Progress` for whom nobody listens."""
