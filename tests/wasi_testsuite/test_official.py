"""The official suite of WASI preview 1 (WebAssembly/wasi-testsuite), each program in a Keep by `run`.

`WASI_TESTSUITE` names a directory with its layout: modules anywhere below a `wasm32-wasip1`, the specification of each
beside it as JSON. Without it there is nothing to run.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

SUITE = os.environ.get("WASI_TESTSUITE", "")
_TOLD = "a Keep tells a workload its files: FD_COUNT and FD_NAMES are always there"
DIFFERS = {
    "environ_get-multiple-variables": _TOLD,
    "environ_sizes_get-multiple-variables": _TOLD,
    "environ_sizes_get-no-variables": _TOLD,
}
"""What differs by design, and why; `docs/wasi.md` says the same."""


@dataclass
class Specification:
    """What a program is given, and what has to come of it (the suite's `doc/specification.md`)."""

    args: list[str]
    env: dict[str, str]
    mounts: dict[str, str]  # guest path -> directory beside the module
    status: int
    stdout: str | None

    @classmethod
    def of(cls, module: Path) -> Specification:
        """The one beside the module, or what holds without one."""
        beside = module.with_suffix(".json")
        told = json.loads(beside.read_text()) if beside.exists() else {}
        mounts = {f"/{name}": name for name in told.get("dirs", [])}
        if "root" in told:
            mounts["/"] = told["root"]
        return cls(told.get("args", []), told.get("env", {}), mounts, told.get("exit_code", 0), told.get("stdout"))


def _modules() -> list[Path]:
    return sorted(Path(SUITE).glob("**/wasm32-wasip1/**/*.wasm")) if SUITE else []


def _parameters() -> list[object]:
    found = [
        pytest.param(module, id=module.stem, marks=pytest.mark.xfail(reason=DIFFERS[module.stem], strict=True))
        if module.stem in DIFFERS
        else pytest.param(module, id=module.stem)
        for module in _modules()
    ]
    return found or [pytest.param(None, marks=pytest.mark.skip(reason="WASI_TESTSUITE names no suite"))]


@pytest.mark.parametrize("module", _parameters())
def test_the_official_suite(enarx_deploy, tmp_path: Path, module: Path) -> None:
    told = Specification.of(module)
    words = ["run", str(module)]
    for guest, name in told.mounts.items():
        copy = tmp_path / "mounts" / name
        shutil.copytree(module.parent / name, copy)
        words += ["--dir", f"{copy}::{guest}"]
    for name, value in told.env.items():
        words += ["--env", f"{name}={value}"]
    ended = enarx_deploy(*words, "--", *told.args)
    assert ended.returncode == told.status, ended.stderr
    if told.stdout is not None:
        assert ended.stdout == told.stdout
