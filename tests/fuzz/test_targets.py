"""A short run of every fuzz target: what it begins with, then a fixed number of inputs from a fixed seed."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz.targets import CORPUS, TARGETS, seeds

ROOT = Path(__file__).parents[2]
RUNS = 500
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
PLACES = 80
ODD = (None, True, -1, 1 << 70, 1.5, "", "\ud800", "a\x1b[31m\n", "x" * 3000, [], [None], {}, {"": []})


@pytest.mark.parametrize("name", TARGETS)
def test_real_inputs_and_what_was_found_before(name: str) -> None:
    found = seeds(name)
    assert found
    for data in found:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_json_in_which_something_is_of_another_kind_than_it_should_be(name: str) -> None:
    """Which a fuzzer that knows no JSON hardly comes to: each value, and each name, in turn becomes something else."""
    for seed in seeds(name):
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(seed)
            for place in itertools.islice(_places(document), PLACES):
                for odd in ODD:
                    TARGETS[name].run(json.dumps(_with(document, place, odd)).encode())


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from _places(value[key], (*place, key))


def _with(value: Any, place: tuple[Any, ...], odd: object) -> Any:
    if not place:
        return odd
    first, *rest = place
    if isinstance(value, list):
        return [_with(one, tuple(rest), odd) if at == first else one for at, one in enumerate(value)]
    changed = value | {first: _with(value[first], tuple(rest), odd)}
    if not rest and isinstance(odd, str):
        changed |= {odd: value[first]}
    return changed


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
