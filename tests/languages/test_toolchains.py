"""The toolchains `c`, `wat` and `prebuilt`, on real projects with real compilers."""

import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx_deploy import tools, wasm
from enarx_deploy.errors import BuildError
from enarx_deploy.project import Project, load_project
from enarx_deploy.protocols import MissingTool, Tool, Toolchain
from enarx_languages import c, c_family, command, prebuilt, wat

HELLO = "#include <stdio.h>\nint main(void) { puts(GREETING); return 0; }\n"
MAIN = "int main(void) { return 0; }\n"
START = '(module (func (export "_start")))'

Make = Callable[..., Project]


@pytest.fixture
def zig(zig_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))


def built(toolchain: Toolchain, project: Project) -> tuple[bytes, list[str]]:
    """The module, and the lines of progress."""
    tool = toolchain.find()
    assert isinstance(tool, Tool)
    lines: list[str] = []
    output = project.work_dir / "out.wasm"
    toolchain.build(project, tool, output, lines.append)
    return output.read_bytes(), lines


def names(project: Project, toolchain: Toolchain) -> list[str]:
    return [str(path.relative_to(project.root)) for path in toolchain.inputs(project)]


@pytest.mark.parametrize("toolchain", [c.C(), wat.Wat(), prebuilt.Prebuilt()])
def test_each_is_a_toolchain(toolchain: object) -> None:
    assert isinstance(toolchain, Toolchain)


@pytest.mark.parametrize(
    ("files", "build", "expected"),
    [
        ({"main.c": MAIN}, "", {"c": "main.c is here"}),
        ({"server.c": MAIN}, "", {"c": "server.c is here"}),
        ({"a.c": MAIN, "main.c": MAIN, "z.c": MAIN}, "", {"c": "a.c is here with 2 more"}),
        ({"a.c": MAIN, "b.c": MAIN}, "", {}),
        ({"a.c": MAIN, "b.c": MAIN, "src/c.c": MAIN}, "", {"c": "src/c.c is here"}),
        ({"src/a.c": MAIN, "src/b.c": MAIN}, "", {"c": "src/a.c is here with 1 more"}),
        ({"lib/a.c": MAIN}, "", {}),
        ({"lib/a.c": MAIN}, 'source = "lib"', {"c": "lib/a.c is here"}),
        ({"lib/a.c": MAIN, "main.wat": START}, 'source = "lib/a.c"', {"c": "lib/a.c is here"}),
        ({"main.wat": START}, "", {"wat": "main.wat is here"}),
        ({"hello.wat": START}, "", {"wat": "hello.wat is here"}),
        ({"a.wat": START, "b.wat": START}, "", {}),
        ({"a.wat": START, "b.wat": START}, 'source = "b.wat"', {"wat": "[build] source is b.wat"}),
        ({"main.wasm": b""}, "", {"prebuilt": "main.wasm is here"}),
        ({"other.wasm": b""}, "", {}),
        ({"other.wasm": b""}, 'source = "other.wasm"', {"prebuilt": "[build] source is other.wasm"}),
        ({"main.c": MAIN, "main.wat": START, "main.wasm": b""}, 'source = "main.rs"', {}),
        ({}, "", {}),
    ],
)
def test_a_project_is_known_by_its_files(
    project: Make, files: dict[str, str | bytes], build: str, expected: dict[str, str]
) -> None:
    made = project(files, build)
    found = {toolchain.name: toolchain.detect(made) for toolchain in (c.C(), wat.Wat(), prebuilt.Prebuilt())}
    assert {name: reason for name, reason in found.items() if reason} == expected


def test_wat_is_translated(project: Make) -> None:
    data, _ = built(wat.Wat(), project({"main.wat": START}))
    assert wasm.validate(data).entry == "_start"


def test_a_fault_in_wat_has_its_place(project: Make) -> None:
    with pytest.raises(BuildError, match=r"^hello\.wat:2:10: error: unknown operator or unexpected token$"):
        built(wat.Wat(), project({"hello.wat": "(module\n  (func (cal $x)))"}))


def test_wat_that_is_not_text_is_refused(project: Make) -> None:
    with pytest.raises(BuildError, match=r"^main\.wat: error: input was not valid utf-8$"):
        built(wat.Wat(), project({"main.wat": b"\xff\xfe"}))


def test_a_prebuilt_module_is_taken_as_it_is(project: Make) -> None:
    made = project({"out/x.wasm": b"\0asm\x01\0\0\0"}, 'source = "out/x.wasm"')
    assert names(made, prebuilt.Prebuilt()) == ["out/x.wasm"]
    assert built(prebuilt.Prebuilt(), made)[0] == b"\0asm\x01\0\0\0"


@pytest.mark.parametrize(("toolchain", "name"), [(prebuilt.Prebuilt(), "main.wasm"), (wat.Wat(), "main.wat")])
def test_a_source_that_is_missing_is_named(project: Make, toolchain: Toolchain, name: str) -> None:
    with pytest.raises(BuildError, match=f"{name}: No such file or directory"):
        built(toolchain, project({}))


@pytest.mark.usefixtures("zig")
def test_c_is_compiled_with_the_words_of_the_manifest(project: Make) -> None:
    made = project({"main.c": HELLO}, "args = ['-DGREETING=\"Hello\"', '-O2']")
    data, lines = built(c.C(), made)
    assert b"Hello" in data
    assert wasm.validate(data).entry == "_start"
    assert len(data) < 10_000
    assert lines.index("compiling main.c") < lines.index("linking")


@pytest.mark.usefixtures("zig")
def test_c_of_several_files_and_folders_is_linked(project: Make) -> None:
    made = project(
        {
            "src/main.c": '#include "answer.h"\nint main(void) { return answer(); }\n',
            "src/other.c": '#include <answer.h>\n#include "table.def"\nint answer(void) { return TABLE; }\n',
            "include/answer.h": "int answer(void);\n",
            "src/table.def": "#define TABLE 42\n",
        },
        'args = ["-Iinclude"]',
    )
    assert names(made, c.C()) == ["include/answer.h", "src/main.c", "src/other.c"]
    assert wasm.validate(built(c.C(), made)[0]).entry == "_start"
    assert names(made, c.C()) == ["include/answer.h", "src/main.c", "src/other.c", "src/table.def"]


@pytest.mark.usefixtures("zig")
def test_c_builds_to_the_same_bytes_in_any_directory(project: Make, tmp_path: Path) -> None:
    source = "#include <assert.h>\n#include <stdio.h>\nint main(int c, char **v) { assert(c == 1); puts(__FILE__); }\n"
    made = project({"main.c": source})
    shutil.copytree(made.root, tmp_path / "elsewhere")
    elsewhere = load_project(tmp_path / "elsewhere")
    assert built(c.C(), made)[0] == built(c.C(), elsewhere)[0]


@pytest.mark.usefixtures("zig")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "#include <stdio.h>\nint main(void) {\n  return y;\n}\n",
            r"^main\.c:3:10: error: use of undeclared identifier",
        ),
        ('#include "nowhere.h"\nint main(void) {}\n', r"^main\.c:1:10: fatal error: 'nowhere\.h' file not found"),
        ("int f(void);\nint main(void) { return f(); }\n", r"error: .*main\.c\.o: undefined symbol: f"),
    ],
)
def test_the_first_error_is_the_message_and_every_line_is_progress(project: Make, source: str, message: str) -> None:
    made = project({"main.c": source})
    tool = c.C().find()
    assert isinstance(tool, Tool)
    lines: list[str] = []
    with pytest.raises(BuildError, match=message) as caught:
        c.C().build(made, tool, made.work_dir / "out.wasm", lines.append)
    assert str(caught.value) in lines
    assert not (made.work_dir / "out.wasm").exists()


@pytest.mark.usefixtures("zig")
def test_files_out_of_sight_are_no_inputs(project: Make) -> None:
    made = project({"main.c": MAIN, ".enarx/old.c": MAIN, ".git/x.h": "", "sub/deep/a.h": ""})
    assert names(made, c.C()) == ["main.c", "sub/deep/a.h"]


@pytest.mark.usefixtures("zig")
def test_a_module_of_the_project_is_not_imported_by_the_compiler(project: Make) -> None:
    made = project(
        {"main.c": MAIN, "ziglang.py": "raise SystemExit('hijacked')", "os.py": "raise SystemExit('hijacked')"}
    )
    assert wasm.validate(built(c.C(), made)[0]).entry == "_start"


def test_the_first_build_with_zig_says_that_it_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path))
    lines: list[str] = []
    tool = Tool(command=(sys.executable, "-c", ""), version="zig 0")
    assert c_family._environment(tool, lines.append)["ZIG_GLOBAL_CACHE_DIR"] == str(tmp_path)
    assert "about 30 seconds, this once" in lines[0]
    (tmp_path / "o").mkdir()
    c_family._environment(tool, lines.append)
    assert len(lines) == 1


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any C compiler: the only directory on PATH, empty, and no ziglang."""

    monkeypatch.setattr(tools, "in_distribution", lambda *_words: None)
    monkeypatch.setattr(c_family, "_WASI_SDK", str(tmp_path / "no-sdk"))
    monkeypatch.delenv("WASI_SDK_PATH", raising=False)
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    return place


@pytest.mark.usefixtures("bare")
def test_without_a_compiler_the_one_to_install_is_named() -> None:
    missing = c.C().find()
    assert isinstance(missing, MissingTool)
    assert (missing.name, missing.install, missing.registry) == ("a C compiler", "pip install ziglang==0.17.1", "PyPI")


def test_an_installed_zig_is_found(bare: Path) -> None:
    script(bare / "zig", "echo 0.99.0")
    assert c.C().find() == Tool(command=(str(bare / "zig"), "cc", "--target=wasm32-wasi"), version="zig 0.99.0")


def test_a_clang_counts_only_with_a_wasi_libc(bare: Path) -> None:
    script(bare / "clang", "case $1 in --version) echo Debian clang version 14.0.6;; *) echo libc.a;; esac")
    assert isinstance(c.C().find(), MissingTool)
    (bare / "libc.a").touch()
    script(bare / "clang-19", f"case $1 in --version) echo clang version 19.1.7;; *) echo {bare}/libc.a;; esac")
    found = c.C().find()
    assert isinstance(found, Tool)
    assert found.command[:2] == (str(bare / "clang-19"), "--target=wasm32-wasi")
    script(bare / "clang-22", f"case $1 in --version) echo clang version 22.1.8;; *) echo {bare}/libc.a;; esac")
    found = c.C().find()
    assert isinstance(found, Tool)
    assert found.command[:2] == (str(bare / "clang-22"), "--target=wasm32-wasip1")


def test_a_wasi_sdk_is_found_where_it_says_it_is(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sdk/bin").mkdir(parents=True)
    monkeypatch.setenv("WASI_SDK_PATH", str(tmp_path / "sdk"))
    (bare / "libc.a").touch()
    script(
        tmp_path / "sdk/bin/clang", f"case $1 in --version) echo clang version 19.1.5;; *) echo {bare}/libc.a;; esac"
    )
    found = c.C().find()
    assert isinstance(found, Tool)
    assert found.command[0] == str(tmp_path / "sdk/bin/clang")


def test_a_tool_that_cannot_start_or_fails_silently_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot start no-such-tool: No such file or directory"):
        command.run(["no-such-tool"], cwd=tmp_path, environment={}, progress=print)
    with pytest.raises(BuildError, match=r"^false ended with status 1$"):
        command.run(["false"], cwd=tmp_path, environment={}, progress=print)


def test_a_tool_runs_in_its_place_with_its_environment_and_no_input(tmp_path: Path) -> None:
    lines: list[str] = []
    words = ["sh", "-c", 'pwd; echo "$COLOUR $HOME"; cat; echo to-stderr >&2']
    command.run(words, cwd=tmp_path, environment={"COLOUR": "red"}, progress=lines.append)
    assert lines == [str(tmp_path), f"red {os.environ['HOME']}", "to-stderr"]


def test_a_tool_that_says_nothing_for_long_is_told_to_be_at_work(tmp_path: Path, monkeypatch) -> None:
    """The tool waits to be told to end, which it is when its silence is told the second time."""
    monkeypatch.setattr("enarx_languages.silence.FIRST", 0.05)
    os.mkfifo(tmp_path / "end")
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            (tmp_path / "end").write_text("now\n")

    command.run(["sh", "-c", "read word < end"], cwd=tmp_path, progress=progress, slow_because="it waits")
    assert all(line.startswith("sh has said nothing for ") for line in lines)
    assert all(line.endswith(" s and is at work: it waits") for line in lines)


def test_what_a_tool_prints_is_shown_safely(tmp_path: Path) -> None:
    lines: list[str] = []
    words = ["sh", "-c", r"printf 'a.c:1:1: error: \033[31mred\033[0m \007\377\n'; exit 1"]
    with pytest.raises(BuildError) as caught:
        command.run(words, cwd=tmp_path, environment={}, progress=lines.append)
    assert str(caught.value) == "a.c:1:1: error: red \ufffd\ufffd"
    assert lines == [str(caught.value)]
