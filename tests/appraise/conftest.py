"""The command, called in this process, and directories of endorsements made of the vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy.cli.main import main

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"


@dataclass
class Answer:
    """How the command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def failed(self) -> set[str]:
        return {check["id"] for check in self.record["checks"] if check["outcome"] == "failed"}

    def must_be_whole(self) -> None:
        """An answer to any evidence: all of its keys, and one verdict in exit status, `ok` and checks."""
        assert "Traceback" not in self.err
        assert list(self.record) == ["ok", "kind", "status", "claims", "checks"]
        assert self.record["ok"] is (self.status == 0)
        assert self.record["ok"] is not bool(self.failed)
        assert all(check["ok"] is (check["outcome"] != "failed") for check in self.record["checks"])
        assert all(check["hint"] for check in self.record["checks"] if not check["ok"])


@pytest.fixture
def appraise(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`enarx-deploy appraise --json` in this process."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        status = main(["appraise", "--json", *map(str, words)])
        return Answer(status, *capsys.readouterr())

    return run


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """A directory of a vector's own, to be damaged."""

    def copy(vector: str) -> Path:
        place = tmp_path / vector.replace("/", "-")
        shutil.copytree(VECTORS / vector, place)
        return place

    return copy
