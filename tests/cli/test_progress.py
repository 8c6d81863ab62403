"""What is said while stages run: some of it comes from registries, clusters and other machines."""

from __future__ import annotations

import pytest

from enarx_deploy.cli.context import Context
from enarx_deploy.cli.progress import Plain, Settled, live

HOSTILE = "pulling \x1b]0;owned\x07\x1b[2Jx\x9b31m"


@pytest.mark.parametrize("reporter", [Plain, Settled])
def test_a_stranger_moves_no_cursor(capsys, reporter):
    shown = reporter()
    shown.started("deploy")
    shown.note(HOSTILE)
    shown.progress(HOSTILE)
    assert_harmless(capsys.readouterr().err)


def test_nor_in_the_line_that_moves(capsys):
    with live(verbose=True) as shown:
        shown.started("deploy")
        shown.progress(HOSTILE)
    assert_harmless(capsys.readouterr().err)


def test_nor_in_notes_and_warnings(capsys):
    context = Context()
    context.note(HOSTILE)
    context.warn(HOSTILE)
    assert_harmless(capsys.readouterr().err)


def assert_harmless(said: str) -> None:
    assert "\\x1b]0;owned\\x07" in said
    assert said.replace("\n", "").isprintable()
