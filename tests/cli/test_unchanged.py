"""An unchanged project is answered for by a stamp, before anything is imported; in any doubt by the command itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WAT = '(module (memory (export "memory") 1) (func (export "_start")))\n'
STRANGER = """
from enarx_deploy.hookspecs import hookimpl

@hookimpl
def register_toolchains():
    return []
"""


class Project:
    """A project that was compiled, in a world that nothing else changes."""

    def __init__(self, program, tools: Path) -> None:
        self.program = program
        self.root: Path = program.directory
        tools.mkdir()
        program.environment |= {"PATH": str(tools), "PYTHONPROFILEIMPORTTIME": "1"}
        self.tools = tools
        self.source = self.root / "main.wat"
        self.source.write_text(WAT)
        (self.root / "parts").mkdir()
        assert self.compile() == "built"

    def compile(self, *words: str, **more) -> str:
        """What a `compile` does: "built", "looked" (and found nothing changed), or "answered" by a stamp."""
        ended = self.program("compile", *words, **more)
        assert ended.returncode == 0, ended.stderr
        if "click" not in ended.stderr:
            return "answered"
        return "looked" if " unchanged: " in ended.stderr else "built"

    def said(self, *words: str, **more) -> tuple[str, list[str]]:
        """What a `compile` prints, without Python's lines about imports."""
        ended = self.program("compile", *words, **more)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout, [line for line in ended.stderr.splitlines() if not line.startswith("import time:")]

    @property
    def stamps(self) -> list[Path]:
        return list((self.root / ".enarx" / "unchanged").glob("*"))


@pytest.fixture
def project(enarx_deploy, tmp_path) -> Project:
    return Project(enarx_deploy, tmp_path / "tools")


def test_an_unchanged_project_is_answered_for_before_anything_is_imported(project):
    assert [project.compile() for _ in range(2)] == ["answered"] * 2


@pytest.mark.parametrize("words", [(), ("--json",), ("--quiet",), ("--json", "-v"), ("--set", "build.strip=false")])
def test_a_stamp_says_what_the_command_says(project, words):
    project.said(*words)
    answered = project.compile(*words)
    by_stamp = project.said(*words)
    for stamp in project.stamps:
        stamp.unlink()
    assert (answered, by_stamp) == ("answered", project.said(*words))


def test_on_a_terminal_a_stamp_says_what_stays_there(project):
    moving, by_stamp = (_on_a_terminal(project) for _ in range(2))
    line = next(line for line in by_stamp.splitlines() if line.startswith("= compile"))
    assert line in moving
    assert ("\x1b" in moving, "\x1b" in by_stamp) == (True, False)


def _on_a_terminal(project: Project) -> str:
    controller, terminal = pty.openpty()
    environment = {**project.program._environment(), "TERM": "xterm"}
    del environment["PYTHONPROFILEIMPORTTIME"]
    words = [sys.executable, "-m", "enarx_deploy", "compile"]
    subprocess.run(words, cwd=project.root, env=environment, stdout=subprocess.PIPE, stderr=terminal, check=True)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(controller, "rb", buffering=0) as file:  # ends with an error
        while part := file.read(1 << 16):
            shown += part
    return shown.decode()


def test_a_project_is_found_by_c_too(project, tmp_path):
    for words in (("-C", str(project.root)), (f"--directory={project.root}",), (f"-C{project.root}",)):
        assert [project.compile(*words, cwd=tmp_path) for _ in range(2)] == ["looked", "answered"]


def replaced_and_dated_back(project: Project) -> None:
    times = project.source.stat()
    project.source.write_text(WAT.replace("1)", "2)"))
    os.utime(project.source, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced_by_a_copy(project: Project) -> None:
    copy = project.source.with_suffix(".new")
    copy.write_text(WAT)
    copy.rename(project.source)


def damaged_module(project: Project) -> None:
    module = project.root / ".enarx" / "main.wasm"
    module.write_bytes(b"\0" * module.stat().st_size)


CHANGES: dict[str, Callable[[Project], object]] = {
    "a source of the same size and date": replaced_and_dated_back,
    "a source that was replaced by its copy": replaced_by_a_copy,
    "a source whose rights changed": lambda project: project.source.chmod(0o600),
    "a manifest where there was none": lambda project: (project.root / "Enarx.toml").write_text(""),
    "a file in a folder of the project": lambda project: (project.root / "parts" / "index.ts").write_text(""),
    "the module": damaged_module,
    "no module": lambda project: (project.root / ".enarx" / "main.wasm").unlink(),
    "the record": lambda project: (project.root / ".enarx" / "compile.json").write_text("{}"),
    "a tool on PATH": lambda project: (project.tools / "wasm-opt").write_text("x"),
    "the environment": lambda project: project.program.environment.update(RUSTFLAGS="-g"),
    "PATH": lambda project: project.program.environment.update(PATH=f"{project.tools}:/nowhere"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_left_to_the_command(project, change):
    assert project.compile() == "answered"
    CHANGES[change](project)
    assert project.compile() != "answered"
    assert project.compile() == "answered"


def test_a_plugin_that_is_installed_is_noticed_and_what_goes_by_it_is_not_remembered(project, install_plugin):
    assert project.compile() == "answered"
    install_plugin("stranger", STRANGER)
    assert [project.compile() for _ in range(2)] == ["looked"] * 2


@pytest.mark.parametrize("words", [("--force",), ("--check-reproducible",)])
def test_what_is_to_be_built_is_built(project, words):
    assert [project.compile(*words) for _ in range(2)] == ["built"] * 2


def test_someone_at_work_in_the_project_is_waited_for(project):
    with (project.root / ".enarx" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = project.program.start("compile")
        while b"at work in this project" not in os.read(waiting.stderr.fileno(), 1 << 16):
            pass
        fcntl.flock(lock, fcntl.LOCK_UN)
        _, said = waiting.communicate(timeout=120)
    assert " unchanged: " in said


def test_a_stamp_that_others_could_have_written_is_not_believed(project):
    (stamp,) = project.stamps
    stamp.chmod(0o640)
    assert project.compile() == "looked"


def test_a_stamp_that_was_edited_is_not_believed(project):
    (stamp,) = project.stamps
    stamp.write_bytes(stamp.read_bytes().replace(b"main.wasm", b"evil.wasm"))
    assert project.compile() == "looked"


def test_a_stamp_that_came_with_a_project_is_not_believed(project, tmp_path):
    project.program.environment["ENARX_DEPLOY_STATE_DIR"] = str(tmp_path / "another user's")
    assert [project.compile() for _ in range(2)] == ["built", "answered"]


def test_a_key_that_others_can_read_is_not_used(project):
    Path(project.program.environment["ENARX_DEPLOY_STATE_DIR"], "records.key").chmod(0o644)
    assert [project.compile() for _ in range(2)] == ["looked"] * 2


def test_what_was_changed_a_moment_ago_is_not_remembered(project):
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(project.source, ns=(ahead, ahead))
    assert [project.compile() for _ in range(2)] == ["looked"] * 2


def test_what_other_projects_ask_of_tools_changes_nothing(project):
    answers = Path(project.program.environment["ENARX_DEPLOY_CACHE_DIR"], "tools", "answers.json")
    answers.parent.mkdir(mode=0o700, exist_ok=True)
    answers.write_text('{"another": "1.0"}')
    assert project.compile() == "answered"


def test_few_stamps_are_kept(project):
    for number in range(10):
        project.compile("--set", f'build.args=["{number}"]')
    assert len(project.stamps) == 8
