"""A short run of every fuzz target: what it begins with, then a fixed number of inputs from a fixed seed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.targets import CORPUS, TARGETS, seeds

ROOT = Path(__file__).parents[2]
RUNS = 1000
NESTED = (
    b"[" * 16_000,
    b'{"a":' * 3_000,
    b'{"version":3,"tcbLevels":' + b"[" * 8_000,
    b"a=" + b"[" * 8_000,
    b"a=" + b"{b=" * 5_000,
    b"a" + b".a" * 8_000 + b"=1",
    b"\x81" * 16_000,
    b"\xa1\x01" * 8_000,
    b"\xc1" * 16_000,
    b"".join(b"\x30\x82" + (16_000 - 4 * level).to_bytes(2, "big") for level in range(1, 3_900)),
)
"""JSON, TOML, CBOR and DER."""


@pytest.mark.parametrize("name", TARGETS)
def test_real_inputs_and_what_was_found_before(name: str) -> None:
    found = seeds(name)
    assert found
    for data in found:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_nested_as_deeply_as_it_can_be(name: str) -> None:
    for document in NESTED:
        TARGETS[name].run(document)


def test_every_folder_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= TARGETS.keys()


def test_an_error_of_another_type_is_not_let_pass() -> None:
    def read(_data: bytes) -> None:
        raise IndexError

    with pytest.raises(IndexError):
        type(TARGETS["nil"])(read, (ValueError,)).run(b"")


@pytest.mark.timeout(1200)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="Atheris has no wheel for this Python")
def test_a_short_run_of_each(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz", f"--runs={RUNS}", "--findings", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-500:] + ended.stderr[-2000:]
    assert f"{len(TARGETS)} targets passed; failed: none" in ended.stdout
