"""Zig: real programs, compiled by the PyPI package ziglang."""

import os

import pytest

from enarx_languages import zig

SUM = """\
const std = @import("std");
pub fn main(init: std.process.Init) !void {
    var arguments = try init.minimal.args.iterateAllocator(init.gpa);
    _ = arguments.next();
    var sum: i64 = 0;
    while (arguments.next()) |word| sum += try std.fmt.parseInt(i64, word, 10);
    var buffer: [64]u8 = undefined;
    var out = std.Io.File.stdout().writer(init.io, &buffer);
    try out.interface.print("{s} {d}\\n", .{ @embedFile("greeting.txt"), sum });
    try out.interface.flush();
}
"""
SCRIPT = """\
const std = @import("std");
pub fn build(b: *std.Build) void {
    const exe = b.addExecutable(.{
        .name = "hello",
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/hello.zig"),
            .target = b.standardTargetOptions(.{}),
            .optimize = b.standardOptimizeOption(.{}),
        }),
    });
    b.installArtifact(exe);
}
"""


takes_minutes = pytest.mark.skipif(
    "ENARX_DEPLOY_TEST_ZIG_BUILD" not in os.environ,
    reason="zig compiles its build system first, for minutes; ENARX_DEPLOY_TEST_ZIG_BUILD=1 has it do so",
)


@pytest.fixture
def compiler(bench, zig_cache, monkeypatch):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
    return bench(zig.Zig())


def test_a_program_is_built_and_runs_in_a_keep(in_keep, zig_cache):
    files = {"main.zig": SUM, "greeting.txt": "sum"}
    ended = in_keep(files, "7", "21", ZIG_GLOBAL_CACHE_DIR=str(zig_cache))
    assert (ended.returncode, ended.stdout) == (0, "sum 28\n"), ended.stderr
    assert "toolchain zig: main.zig is here" in ended.stderr


def test_two_directories_make_the_same_module(compiler, project):
    made = project({"main.zig": 'pub fn main() void { @import("std").debug.print("hello\\n", .{}); }\n'})
    assert compiler.built_elsewhere(made) == compiler.built(made)[0]


@takes_minutes
def test_a_project_is_built_by_its_script(compiler, project):
    made = project(
        {"build.zig": SCRIPT, "src/hello.zig": 'pub fn main() void { @import("std").debug.print("hi", .{}); }'}
    )
    assert compiler.toolchain.detect(made) == "build.zig is here"
    data, _ = compiler.built(made)
    assert data.startswith(b"\0asm")
    assert str(made.root).encode() not in data


def test_an_error_has_its_place(compiler, project):
    error = compiler.refusal(project({"main.zig": "pub fn main() void {\n    x();\n}\n"}))
    assert str(error) == "main.zig:2:5: error: use of undeclared identifier 'x'"


def test_what_is_embedded_is_an_input(compiler, project):
    made = project({"src/main.zig": SUM, "src/greeting.txt": "sum", ".zig-cache/x.zig": ""})
    assert compiler.inputs(made) == ["src/greeting.txt", "src/main.zig"]


@takes_minutes
def test_a_script_that_installs_nothing_is_told(compiler, project):
    made = project({"build.zig": SCRIPT.replace("b.installArtifact(exe);", "_ = exe;")})
    assert str(compiler.refusal(made)) == "build.zig installed 0 programs: none"
