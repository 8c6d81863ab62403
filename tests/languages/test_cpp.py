"""C++: real programs, compiled by this machine's clang with libc++ for WASI, or by zig."""

import pytest

from enarx_deploy.protocols import MissingTool
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


@pytest.fixture
def compiler(bench, zig_cache, monkeypatch):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
    return bench(cpp.Cpp())


def test_a_program_with_a_part_in_c_is_built_and_runs_in_a_keep(in_keep, zig_cache):
    ended = in_keep(SUM, "7", "21", ZIG_GLOBAL_CACHE_DIR=str(zig_cache))
    assert (ended.returncode, ended.stdout) == (0, "sum 56\n"), ended.stderr
    assert "toolchain cpp: main.cpp is here" in ended.stderr


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
