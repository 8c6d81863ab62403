"""The digest of a tool: all of it that makes modules counts, wherever it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx_deploy.protocols import Tool
from enarx_deploy.tool_bytes import digest

RECORD = """\
compiler/bin/cc,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5
compiler/lib.a,sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0,3
compiler/__pycache__/a.pyc,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5
../../../bin/cc,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5
compiler-1.dist-info/INSTALLER,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5
compiler-1.dist-info/RECORD,,
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def of(path: Path, *files: Path) -> str:
    return digest(Tool(command=(str(path), "--word"), version="1", files=tuple(map(str, files))))


def test_what_pip_installed_counts_with_all_that_its_record_has(tmp_path):
    site = tmp_path / "lib" / "site-packages"
    program = written(site / "compiler" / "bin" / "cc", "hello")
    record = written(site / "compiler-1.dist-info" / "RECORD", RECORD)
    found = of(program)
    assert found.startswith("sha256:")
    for change, changes in {
        "compiler/lib.a,sha256=ungW": True,
        "__pycache__/a.pyc,sha256=LPJN": False,
        "bin/cc,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5\ncompiler-1": False,
        "INSTALLER,sha256=LPJN": False,
    }.items():
        record.write_text(RECORD.replace(change, change.replace("=ungW", "=AAAA").replace("=LPJN", "=AAAA")))
        assert (of(program) != found) is changes, change
    record.write_text(RECORD)
    assert of(program) == found
    program.write_text("hellO")
    assert of(program) != found, "the program itself is read, and its record not believed"


def test_what_npm_installed_counts_with_all_of_its_package(tmp_path):
    modules = tmp_path / "node_modules"
    program = written(modules / "@scope" / "compiler" / "bin" / "cc.js", "run()")
    library = written(modules / "@scope" / "compiler" / "lib" / "a.js", "1")
    other = written(modules / "other" / "index.js", "1")
    (modules / ".bin").mkdir()
    (modules / ".bin" / "cc").symlink_to(program)
    found = of(modules / ".bin" / "cc")
    assert of(program) == found
    other.write_text("2")
    assert of(program) == found
    library.write_text("2")
    assert of(program) != found


def test_it_is_the_same_elsewhere_and_another_for_another_library(tmp_path):
    digests = []
    for place in ("here", "elsewhere"):
        program = written(tmp_path / place / "cc", "run()")
        folder = written(tmp_path / place / "libraries" / "deep" / "a.so", "1").parents[1]
        digests.append(of(program, folder))
    assert digests[0] == digests[1]
    (tmp_path / "elsewhere" / "libraries" / "deep" / "a.so").write_text("2")
    assert of(tmp_path / "elsewhere" / "cc", tmp_path / "elsewhere" / "libraries") != digests[0]
    assert digest(Tool(command=(), version="as given")) == ""
    assert digest(Tool(command=("relative", "/no/such/program"), version="1")) == ""
