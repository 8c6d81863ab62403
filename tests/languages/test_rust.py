"""Rust: real packages, built by the cargo of this machine that has the target."""

import os
import shutil
from pathlib import Path

import pytest

from enarx_deploy.protocols import MissingTool
from enarx_languages import rust

CARGO = '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2021"\n'
SUM = """\
fn main() {
    let sum: i64 = std::env::args().skip(1).map(|word| word.parse::<i64>().unwrap()).sum();
    println!("{}{}", include_str!("../greeting.txt"), sum);
}
"""
HELLO = {"Cargo.toml": CARGO, "src/main.rs": SUM, "greeting.txt": "sum "}


@pytest.fixture
def cargo(bench):
    return bench(rust.Rust())


def test_a_package_is_built_and_runs_in_a_keep(in_keep, cargo, project):
    cargo.found(project({}))
    ended = in_keep(HELLO, "7", "21")
    assert (ended.returncode, ended.stdout) == (0, "sum 28\n"), ended.stderr
    assert "toolchain rust: Cargo.toml is here" in ended.stderr


def test_what_cargo_read_is_an_input_from_the_first_build_on(cargo, project):
    made = project(HELLO | {"target/old.rs": "", "README.md": "words"})
    assert cargo.inputs(made) == ["Cargo.toml", "src/main.rs"]
    cargo.built(made)
    assert cargo.inputs(made) == ["Cargo.lock", "Cargo.toml", "greeting.txt", "src/main.rs"]


def test_the_module_is_small_and_names_no_directory_of_this_machine(cargo, project):
    made = project(HELLO)
    data, lines = cargo.built(made)
    assert len(data) < 200_000
    assert str(made.root).encode() not in data
    assert any(line.startswith("Compiling hello v0.1.0") for line in lines)


def test_profile_features_and_words_reach_cargo(cargo, project):
    source = '#[cfg(all(feature = "loud", debug_assertions))]\nfn main() { println!("LOUD") }\n'
    files = {"Cargo.toml": CARGO + "[features]\nloud = []\n", "src/bin/loud.rs": source}
    made = project(files, 'profile = "debug"\nfeatures = ["loud"]\nargs = ["--bin", "loud"]')
    assert b"LOUD" in cargo.built(made)[0]


def test_an_error_has_its_place(cargo, project):
    error = cargo.refusal(project(HELLO | {"src/main.rs": "fn main() {\n    x\n}\n"}))
    assert str(error) == "src/main.rs:2:5: error[E0425]: cannot find value `x` in this scope"


def test_of_several_programs_one_must_be_named(cargo, project):
    main = "fn main() {}\n"
    error = cargo.refusal(project({"Cargo.toml": CARGO, "src/bin/a.rs": main, "src/bin/b.rs": main}))
    assert str(error) == "cargo made 2 programs: a, b"
    assert error.hint == "say which: [build] args = ['--bin', 'NAME']"


def test_a_library_is_no_program(cargo, project):
    assert str(cargo.refusal(project({"Cargo.toml": CARGO, "src/lib.rs": ""}))) == "cargo made no program"


def test_a_build_without_network_says_how_it_gets_one(cargo, project):
    error = cargo.refusal(project(HELLO | {"Cargo.toml": CARGO + '[dependencies]\nno-such-crate-here = "1"\n'}))
    assert "--set build.network=true" in error.hint


def test_the_first_compiler_with_the_target_is_taken_whatever_its_name(tool_named, tmp_path, project, monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    libraries = tmp_path / "lib"
    libraries.mkdir()
    (libraries / "libstd-1.rlib").touch()
    tool_named("cargo", "exit 1")
    older = (
        f"""case "$*" in *wasm32-wasip1*) exit 1;; *--version*) echo rustc 1.70.0 "(x)";; *) echo {libraries};; esac"""
    )
    compiler = tool_named("rustc", older)
    tool = rust.Rust().find_for(project({}))
    assert tool.version == "rustc 1.70.0, wasm32-wasi"
    assert tool.command == (str(compiler.with_name("cargo")), "build", "--target", "wasm32-wasi")


def test_without_a_target_the_command_that_adds_it_is_told(nothing_installed):
    missing = rust.Rust().find()
    assert isinstance(missing, MissingTool)
    assert missing.install == "get rustup from https://rustup.rs, then: rustup target add wasm32-wasip1"
    (nothing_installed / "rustup").write_text("#!/bin/sh\n")
    (nothing_installed / "rustup").chmod(0o755)
    assert rust.Rust().find().install == "rustup target add wasm32-wasip1"


def test_the_same_bytes_in_any_directory(cargo, project, tmp_path: Path):
    from enarx_deploy.project import load_project

    made = project(HELLO)
    shutil.copytree(made.root, tmp_path / "another" / "place")
    elsewhere = load_project(tmp_path / "another" / "place")
    assert cargo.built(made)[0] == cargo.built(elsewhere)[0]


def test_flags_of_the_user_are_kept(cargo, project, monkeypatch):
    monkeypatch.setenv("RUSTFLAGS", " ".join([os.environ.get("RUSTFLAGS", ""), "--cfg", "mine"]))
    data, _ = cargo.built(project(HELLO | {"src/main.rs": '#[cfg(mine)]\nfn main() { println!("MINE") }\n'}))
    assert b"MINE" in data
