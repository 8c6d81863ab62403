"""What happens to a built module: optimised, stripped, and built again to see that it is the same."""

import contextlib
import re
import sys

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy import wasm, wasm_sections
from enarx_deploy.wasm_binary import DamagedModuleError

FOLDABLE = """(module
  (memory (export "memory") 1)
  (func $used (result i32) (i32.add (i32.const 1) (i32.const 2)))
  (func $unused_function_name)
  (func $start (export "_start") (drop (call $used))))"""


def custom(name: str, content: bytes = b"x") -> bytes:
    body = bytes([len(name)]) + name.encode() + content
    return bytes([0, len(body)]) + body


def translated(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def test_a_stripped_module_has_no_names_and_keeps_everything_else():
    bare = translated('(module (memory (export "memory") 1) (func (export "_start")))')
    full = bare + custom("producers") + custom(".debug_info") + custom("name", b"\0\0") + custom("sourceMappingURL")
    assert wasm_sections.strip(full) == bare + custom("producers")
    assert wasm_sections.strip(bare) == bare
    assert b"unused_function_name" in translated(FOLDABLE)
    assert b"unused_function_name" not in wasm_sections.strip(translated(FOLDABLE))


@given(st.lists(st.sampled_from([custom("name"), custom("mine", b""), custom(".debug_line"), custom("other")])))
def test_stripping_leaves_a_module_with_the_same_facts_and_nothing_to_strip(sections):
    data = translated(FOLDABLE) + b"".join(sections)
    stripped = wasm_sections.strip(data)
    assert wasm.inspect(stripped) == wasm.inspect(data)
    assert wasm_sections.strip(stripped) == stripped
    assert stripped.count(b"mine") == data.count(b"mine")


@given(st.binary(max_size=64))
def test_what_is_no_module_is_damaged_or_passes(data):
    with contextlib.suppress(DamagedModuleError):
        stripped = wasm_sections.strip(b"\0asm\1\0\0\0" + data)
        assert len(stripped) <= len(data) + 8


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (custom("a"), custom("a") + custom("b"), "the first has fewer sections"),
        (custom("a") + custom("b"), custom("a"), "the second has no section `b`"),
        (custom("a"), custom("b"), "the first has section `a` where the second has `b`"),
        (custom("a", b"12"), custom("a", b"13"), "section `a`, 6 bytes, at its byte 5"),
        (custom("a", b"1"), custom("a", b"11"), "section `a`, 5 and 6 bytes, at its byte 1"),
    ],
)
def test_the_first_difference_is_named(one, other, words):
    header = b"\0asm\1\0\0\0"
    assert wasm_sections.first_difference(header + one, header + other) == words


@pytest.fixture
def written(enarx_deploy):
    """A project in WebAssembly text, with a [build] table."""

    def write(build: str, text: str = FOLDABLE) -> None:
        (enarx_deploy.directory / "main.wat").write_text(text)
        (enarx_deploy.directory / "Enarx.toml").write_text(f"files = []\n[build]\n{build}\n")

    return write


def module(enarx_deploy) -> bytes:
    return (enarx_deploy.directory / ".enarx" / "main.wasm").read_bytes()


def test_strip_is_asked_for_in_the_manifest_and_the_module_put_where_it_says(enarx_deploy, written):
    written('strip = true\noutput = "out/app.wasm"')
    assert enarx_deploy("compile").returncode == 0
    assert module(enarx_deploy) == wasm_sections.strip(translated(FOLDABLE))
    assert (enarx_deploy.directory / "out" / "app.wasm").read_bytes() == module(enarx_deploy)


def test_wasm_opt_makes_it_smaller_and_its_version_is_recorded(enarx_deploy, written, npm_packages):
    (enarx_deploy.directory / "node_modules").symlink_to(npm_packages)
    written('optimize = "size"')
    ended = enarx_deploy("compile", "--json")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"wasm-opt \d", ended.stdout)
    assert len(wasm_sections.strip(module(enarx_deploy))) < len(wasm_sections.strip(translated(FOLDABLE)))
    assert " unchanged" in enarx_deploy("compile").stderr


def test_wasm_opt_that_is_not_there_is_told_with_what_installs_it(enarx_deploy, written, tmp_path):
    written('optimize = "size"')
    ended = enarx_deploy("compile", env={"PATH": str(tmp_path)})
    assert ended.returncode == 1
    assert "[build] optimize needs wasm-opt, which is not here" in ended.stderr
    assert "npm install --prefix" in ended.stderr


def test_a_reproducible_build_says_so(enarx_deploy, written):
    written("")
    ended = enarx_deploy("compile", "--check-reproducible")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("main.wasm: built twice, the same bytes\n")


def test_a_build_that_reads_its_place_is_not_reproducible(enarx_deploy):
    script = """
import os, pathlib, wasmtime
text = '(module (memory (export "memory") 1) (data (i32.const 0) "%s") (func (export "_start")))' % os.getcwd()
pathlib.Path("out.wasm").write_bytes(wasmtime.wat2wasm(text))
"""
    (enarx_deploy.directory / "build.py").write_text(script)
    manifest = f'files = []\n[build]\ncommand = ["{sys.executable}", "build.py"]\noutput = "out.wasm"\n'
    (enarx_deploy.directory / "Enarx.toml").write_text(manifest)
    ended = enarx_deploy("compile", "--check-reproducible")
    assert ended.returncode == 1
    assert (
        "the build is not reproducible: two builds of the same sources differ first in section `data`" in ended.stderr
    )
    assert (enarx_deploy.directory / ".enarx" / "rebuilt.wasm").is_file()
    assert "rebuilt.wasm" in ended.stderr


def test_features_that_a_toolchain_has_not_are_refused(enarx_deploy, written):
    written('features = ["loud"]')
    ended = enarx_deploy("compile")
    assert ended.returncode == 1
    assert "toolchain 'wat' has no features, and 'loud' is asked for" in ended.stderr


def test_text_and_a_prebuilt_module_run_in_a_keep(in_keep, enarx_deploy):
    program = """(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start") (call $exit (i32.const 7))))"""
    ended = in_keep({"exit.wat": program})
    assert ended.returncode == 7
    assert "toolchain wat: exit.wat is here" in ended.stderr
    (enarx_deploy.directory / "project" / "exit.wat").unlink()
    ended = in_keep({"main.wasm": translated(program)})
    assert ended.returncode == 7
    assert "toolchain prebuilt: main.wasm is here" in ended.stderr
