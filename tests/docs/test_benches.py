"""`python -m benches` says what it can measure, and what it imports is there. Nothing is measured here."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import benches
import pytest

ROOT = Path(__file__).parents[2]


def listed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benches", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_list_has_every_benchmark_with_what_it_measures() -> None:
    from benches.__main__ import BENCHMARKS

    done = listed("--list")
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(BENCHMARKS)
    assert all(len(row) == 2 for row in rows), "a benchmark's function says nothing of itself"


def test_a_name_that_is_not_there_is_refused() -> None:
    done = listed("--list", "wasi", "speed")
    assert done.returncode == 2
    assert "there is no benchmark speed" in done.stderr


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(benches.__path__)])
def test_every_module_imports(name: str) -> None:
    importlib.import_module(f"benches.{name}")
