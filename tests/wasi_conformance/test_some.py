"""A part of the programs of others that is cheap: `python -m tests.wasi_conformance` runs all."""

from __future__ import annotations

import subprocess

import pytest
from tests.wasi_conformance.__main__ import all_judged, kept
from tests.wasi_conformance.judged import Run

CHEAP = ("zlib", "minigzip", "bzip2", "rust:rev_lines")


@pytest.mark.parametrize("name", CHEAP)
def test_a_program_of_others_comes_out_right(name: str) -> None:
    judged = next((one for one in all_judged() if one.name == name), None)
    if judged is None:
        pytest.skip("this machine lacks what it is made with")
    try:
        faults = judged.faults(kept(), Run.in_a_keep)
    except subprocess.CalledProcessError as error:
        if error.cmd[0] == "apt-get" or error.cmd == ["cargo", "vendor"]:
            pytest.skip("its sources cannot be had now")
        raise
    assert [fault for fault in faults if fault not in judged.differs] == []
