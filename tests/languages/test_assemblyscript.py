"""AssemblyScript: real programs, compiled by the asc of npm."""

import pytest

from enarx_deploy.protocols import MissingTool
from enarx_languages import assemblyscript

SUM = """\
let sum: i64 = 0;
for (let i = 1; i < process.argv.length; i++) sum += I64.parseInt(process.argv[i]);
console.log("sum " + sum.toString());
"""
BAD = 'export function f(): void {}\nconsole.log("x" + sun.toString());\n'


@pytest.fixture
def asc(bench):
    return bench(assemblyscript.AssemblyScript())


@pytest.mark.usefixtures("npm_packages")
def test_a_program_is_built_and_runs_in_a_keep(in_keep, asc, project):
    asc.found(project({}))
    ended = in_keep({"assembly/index.ts": SUM}, "7", "21")
    assert (ended.returncode, ended.stdout) == (0, "sum 28\n"), ended.stderr
    assert "toolchain assemblyscript: assembly/index.ts is here" in ended.stderr


@pytest.mark.usefixtures("npm_packages")
def test_the_projects_own_configuration_is_read(asc, project):
    configuration = '{"entries": ["app.ts"], "targets": {"release": {"shrinkLevel": 2, "optimizeLevel": 3}}}'
    made = project({"asconfig.json": configuration, "app.ts": SUM})
    assert asc.toolchain.detect(made) == "asconfig.json is here"
    assert asc.inputs(made) == ["app.ts", "asconfig.json"]
    data, _ = asc.built(made)
    assert len(data) < 20_000
    assert asc.built_elsewhere(made) == data


@pytest.mark.usefixtures("npm_packages")
def test_an_error_has_its_place(asc, project):
    error = asc.refusal(project({"assembly/index.ts": BAD}))
    assert str(error) == "assembly/index.ts:2:19: error: Cannot find name 'sun'."


CLOSURE = """\
ERROR TS2454: Variable 'n' is used before being assigned.
:
1 │ function make(): () => i32 { let n = 5; return () => n; }
│                                                      ~
└─ in assembly/index.ts(1,54)
ERROR AS100: Not implemented: Closures
:
1 │ function make(): () => i32 { let n = 5; return () => n; }
│                                                      ~
└─ in assembly/index.ts(1,54)
FAILURE 2 compile error(s)
"""


def test_what_the_language_does_not_have_is_told_before_what_follows_from_it():
    told = assemblyscript.first_error(CLOSURE.splitlines())
    assert told == "assembly/index.ts:1:54: error: Not implemented: Closures"


@pytest.mark.parametrize("error", ["TS6054: File '~lib/fs.ts' not found.", "TS2304: Cannot find name 'JSON'."])
def test_who_takes_it_for_typescript_is_told_what_there_is(error):
    assert "there are `process`, `console`" in assemblyscript.advice([f"ERROR {error}"])
    assert not assemblyscript.advice(["ERROR TS2304: Cannot find name 'sun'."])


def test_the_package_that_is_missing_is_named(nothing_installed, project):
    missing = assemblyscript.AssemblyScript().find_for(project({}))
    assert isinstance(missing, MissingTool)
    assert missing.registry == "npm"
    assert missing.command[:3] == ("npm", "install", "--prefix")
    assert missing.command[-2:] == ("assemblyscript@0.28", "@assemblyscript/wasi-shim@0.1")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"package.json": '{"devDependencies": {"assemblyscript": "*"}}'}, "package.json names assemblyscript"),
        ({"package.json": '{"dependencies": {"express": "*"}}'}, None),
        ({"package.json": "["}, None),
        ({"index.ts": ""}, None),
    ],
)
def test_a_project_is_known_by_what_it_depends_on(project, files, reason):
    assert assemblyscript.AssemblyScript().detect(project(files)) == reason


def test_a_configuration_that_cannot_be_read_is_told(asc, project, npm_packages):
    assert str(asc.refusal(project({"asconfig.json": "{"}))).startswith("asconfig.json: Expecting")
