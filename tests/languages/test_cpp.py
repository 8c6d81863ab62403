"""C++: real programs, compiled by this machine's clang with libc++ for WASI, or by zig."""

import pytest

from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import MissingTool, Tool
from enarx_languages import c, cpp

MAIN = """\
#include <iostream>
#include <numeric>
#include <string>
#include <vector>
#include "twice.h"
int main(int count, char **words) {
  std::vector<long> numbers;
  for (int i = 1; i < count; i++) numbers.push_back(std::stol(words[i]));
  std::cout << "sum " << twice(std::accumulate(numbers.begin(), numbers.end(), 0L)) << std::endl;
}
"""
TWICE = "long twice(long value) { int class = 2; return class * value; }\n"  # no C++: `class` is a keyword there
HEADER = 'extern "C" long twice(long value);\n'
SUM = {"main.cpp": MAIN, "twice.c": TWICE, "twice.h": HEADER}

THROWING = """\
#include <iostream>
#include <stdexcept>
#include <string>
#include "twice.h"
struct Guard { ~Guard() { std::cout << "unwound" << std::endl; } };
long number(const char *word) {
  Guard guard;
  if (!*word) throw std::invalid_argument("an empty word");
  return std::stol(word);
}
int main(int, char **words) {
  for (char **word = words + 1; *word; word++) {
    try { std::cout << twice(number(*word)) << std::endl; }
    catch (const std::out_of_range &error) { std::cout << "too far: " << error.what() << std::endl; }
    catch (const std::exception &error) { std::cout << error.what() << std::endl; }
  }
  try { try { throw 7; } catch (int) { throw; } } catch (...) { std::cout << "again" << std::endl; }
}
"""


@pytest.fixture
def compiler(bench, zig_cache, monkeypatch):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
    return bench(cpp.Cpp())


def test_a_program_with_a_part_in_c_is_built_and_runs_in_a_keep(in_keep, zig_cache):
    ended = in_keep(SUM, "7", "21", ZIG_GLOBAL_CACHE_DIR=str(zig_cache))
    assert (ended.returncode, ended.stdout) == (0, "sum 56\n"), ended.stderr
    assert "toolchain cpp: main.cpp is here" in ended.stderr


def test_two_directories_make_the_same_module(compiler, project):
    made = project(SUM)
    assert compiler.built_elsewhere(made) == compiler.built(made)[0]


def test_exceptions_of_a_program_and_of_the_library_are_caught_in_a_keep(in_keep, compiler, project, zig_cache):
    files = SUM | {"main.cpp": THROWING}
    compiler.found(project(files))
    ended = in_keep(files, "21", "", "x", "9" * 40, ZIG_GLOBAL_CACHE_DIR=str(zig_cache))
    said = ["unwound", "42", "unwound", "an empty word", "unwound", "stol: no conversion"]
    said += ["unwound", "too far: stol: out of range", "again"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, said), ended.stderr


def test_an_exception_that_nothing_catches_is_said(in_keep, compiler, project, zig_cache):
    files = {"main.cpp": "int main() {\n  throw 1;\n}\n"}
    compiler.found(project(files))
    ended = in_keep(files, ZIG_GLOBAL_CACHE_DIR=str(zig_cache))
    assert ended.returncode == 1
    assert "thrown Wasm exception" in ended.stderr


@pytest.mark.parametrize("text", ["void f() { throw 1; }", "try {", "} catch (...) {", "int f()\ntry\n{"])
def test_only_zig_compiles_what_throws(nothing_installed, project, text):
    missing = cpp.Cpp().find_for(project({"main.cpp": "int main() {}", "f.hpp": text}))
    assert (missing.name, missing.install) == ("a C++ compiler that has exceptions", "pip install ziglang==0.17.1")


@pytest.mark.parametrize("text", ["// we try { and throw\n", " * catch (this)\n", "int retry, throws, catcher;\n"])
def test_words_that_only_look_like_it_change_nothing(nothing_installed, project, text):
    assert cpp.Cpp().find_for(project({"main.cpp": text})).name == "a C++ compiler"


def test_who_wants_no_exceptions_is_told_where_one_is_thrown(compiler, project):
    error = compiler.refusal(project({"main.cpp": "int main() {\n  throw 1;\n}\n"}, 'args = ["-fno-exceptions"]'))
    assert str(error) == "main.cpp:2:3: error: cannot use 'throw' with exceptions disabled"


def test_a_zig_without_its_sources_of_the_library_is_told(tmp_path, project):
    zig = Tool(command=(str(tmp_path / "zig"), "c++"), version="zig 0.17.1")
    with pytest.raises(BuildError, match="the sources of its library of C\\+\\+") as caught:
        cpp.Cpp().build(
            project({"main.cpp": "int main() { throw 1; }"}), zig, tmp_path / "out.wasm", lambda _line: None
        )
    assert "-fno-exceptions" in caught.value.hint


def test_c_leaves_it_to_cpp(project, compiler):
    made = project(SUM)
    assert c.C().detect(made) is None
    assert compiler.inputs(made) == ["main.cpp", "twice.c", "twice.h"]


def test_an_error_has_its_place(compiler, project):
    error = compiler.refusal(project({"main.cpp": "int main() {\n  return y;\n}\n"}))
    assert str(error) == "main.cpp:2:10: error: use of undeclared identifier 'y'"


def test_an_unknown_profile_is_told(compiler, project):
    error = compiler.refusal(project(SUM, 'profile = "fast"'))
    assert (str(error), error.hint) == ("[build] profile is 'fast'", 'this toolchain knows "release" or "debug"')


def test_a_clang_counts_only_with_a_library_of_cpp(nothing_installed, monkeypatch):
    monkeypatch.setattr("enarx_languages.ziglang.find", lambda *_words: None)
    clang = nothing_installed / "clang++"
    clang.write_text(
        f"#!/bin/sh\ncase $1 in --version) echo clang version 19.1.7;; *) echo {nothing_installed}/libc++.a;; esac"
    )
    clang.chmod(0o755)
    missing = cpp.Cpp().find()
    assert isinstance(missing, MissingTool)
    assert (missing.registry, missing.install) == ("PyPI", "pip install ziglang==0.17.1")
    assert missing.command[1] == "-P", "a pip.py in the directory is not the pip that is run"
    (nothing_installed / "libc++.a").touch()
    assert cpp.Cpp().find().version == "clang version 19.1.7"
