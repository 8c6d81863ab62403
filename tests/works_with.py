"""A record of what was built and run in Keeps, for `docs/works-with.md`: one file for each test, in the user's cache.

A test that has the fixture `works_with` names the program and its project. What built it, and in which version, is read
from the record that the compile stage left there. That it did what it should is the test's own word, so it counts once
the test has passed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

FIXTURE = "works_with"


def place() -> Path:
    """Where records are kept from one session to the next."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "enarx-deploy" / "works-with"


@pytest.fixture
def works_with(request: pytest.FixtureRequest) -> Callable[[str, Path], None]:
    """Say that this program, built in this project, did in a Keep what the test asks of it."""

    def note(program: str, project: Path) -> None:
        request.node.works_with = {"program": program, **compiled(project)}

    return note


def compiled(project: Path) -> dict[str, str]:
    """Toolchain and version of a project's last build."""
    from enarx_deploy import records
    from enarx_deploy.models import Module

    entry = records.entry(project / ".enarx", "compile", "")
    module = records.read(project / ".enarx", entry.record, Module) if entry else None
    assert module is not None, f"nothing was built in {project}"
    return {"toolchain": module.toolchain, "version": module.version}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test with the fixture came to."""
    report = yield
    if FIXTURE in getattr(item, "fixturenames", ()) and (report.when == "call" or report.skipped or report.failed):
        keep(item, report)
    return report


def keep(item: pytest.Item, report: pytest.TestReport) -> None:
    """Write one record; a program that was named before the test failed or was skipped does not count as working."""
    said = getattr(item, "works_with", {})
    result = "passes" if report.passed and said else "skipped" if report.skipped else "fails"
    reason = str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    day = datetime.now(UTC).date().isoformat()
    record = {"test": item.nodeid, "result": result, "reason": reason, "day": day, **said}
    folder = place()
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(item.nodeid.encode()).hexdigest()[:32]
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2))
