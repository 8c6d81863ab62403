"""Languages whose tools no registry of the tests has: TinyGo, Swift, .NET and Grain.

Their tools are played by scripts, which shows what is asked of a tool, and how its words are read, and no more: none
of these four has been tried with a real one.
"""

import shlex

import pytest

from enarx_deploy.protocols import MissingTool, Tool
from enarx_languages import dotnet, grain, swift, tinygo

MODULE = b"a module"


@pytest.fixture
def played(tool_named, tmp_path, monkeypatch):
    """Puts a tool on PATH that answers as `answers` say, notes its words, and else runs `does`."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "module").write_bytes(MODULE)

    def play(name: str, answers: dict[str, str], does: str) -> None:
        cases = "".join(f"{shlex.quote(words)}) echo {shlex.quote(said)}; exit;;\n" for words, said in answers.items())
        tool_named(name, f'case "$*" in\n{cases}esac\necho "$*" > {tmp_path}/words\nMODULE={tmp_path}/module\n{does}')

    return play


@pytest.fixture
def words(tmp_path):
    """What the tool was asked, with the place of the output left out."""
    return lambda output: (tmp_path / "words").read_text().replace(str(output), "OUTPUT").split()


PLACED_LAST = 'for last; do :; done; cp $MODULE "$last"'


def test_tinygo_is_asked_for_by_name_alone(project, played, words, bench):
    played("tinygo", {"version": "tinygo version 0.39.0"}, 'while [ "$1" != -o ]; do shift; done; cp $MODULE "$2"')
    made = project(
        {"go.mod": "module x\n", "main.go": "package main\n"}, 'features = ["a", "b"]\nargs = ["-gc=leaking"]'
    )
    assert tinygo.TinyGo().detect(made) is None
    tool = tinygo.TinyGo().find()
    assert isinstance(tool, Tool)
    assert tool.version == "tinygo version 0.39.0"
    assert bench(tinygo.TinyGo()).built(made)[0] == MODULE
    assert " ".join(words(made.work_dir / "out.wasm")) == (
        "build -target=wasip1 -o OUTPUT -opt=z -no-debug -tags=a b -gc=leaking ."
    )


def test_swift_takes_the_sdk_that_is_no_embedded_one(project, played, words, bench):
    sdks = "swift-6.2.3-RELEASE_wasm\nswift-6.2.3-RELEASE_wasm-embedded"
    made = project({"Package.swift": "", "Sources/hello/main.swift": ""})
    place = made.work_dir / "swift" / "wasm32-unknown-wasip1" / "release"
    played(
        "swift",
        {"--version": "Swift version 6.2.3", "sdk list": sdks},
        f"mkdir -p {place} && cp $MODULE {place}/hello.wasm && ln -sfn {place} {place.parents[1]}/release",
    )
    assert swift.Swift().detect(made) == "Package.swift is here"
    assert bench(swift.Swift()).built(made)[0] == MODULE
    asked = words(made.work_dir)
    assert asked[:4] == ["build", "--swift-sdk", "swift-6.2.3-RELEASE_wasm", "--disable-sandbox"]
    assert asked[4:8] == ["--configuration", "release", "--scratch-path", "OUTPUT/swift"]


def test_swift_without_an_sdk_is_missing(played):
    played("swift", {"--version": "Swift version 6.2.3", "sdk list": "No Swift SDKs are currently installed."}, "")
    missing = swift.Swift().find()
    assert isinstance(missing, MissingTool)
    assert missing.install.endswith("swift sdk install")


def test_dotnet_publishes_one_file(project, played, words, bench):
    does = """for word; do case "$word" in -p:WasmAppDir=*) place=${word#*=};; esac; done
    mkdir -p "$place"; cp $MODULE "$place/app.wasm\""""
    played("dotnet", {"--version": "8.0.300", "workload list": "wasi-experimental 8.0.5"}, does)
    made = project({"app.csproj": "<Project/>", "Program.cs": "", "obj/x.cs": ""})
    toolchain = bench(dotnet.DotNet())
    assert toolchain.toolchain.detect(made) == "app.csproj is here"
    assert toolchain.inputs(made) == ["Program.cs", "app.csproj"]
    assert toolchain.built(made)[0] == MODULE
    assert words(made.work_dir)[:6] == ["publish", "app.csproj", "--configuration", "Release", "--runtime", "wasi-wasm"]


def test_grain_compiles_its_file(project, played, words, bench):
    played("grain", {"--version": "0.7.2"}, PLACED_LAST)
    made = project({"src/main.gr": "module Main\n"})
    assert grain.Grain().detect(made) == "src/main.gr is here"
    assert bench(grain.Grain()).built(made)[0] == MODULE
    assert words(made.work_dir / "out.wasm") == ["compile", "--release", "src/main.gr", "-o", "OUTPUT"]


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("toolchain", "page"),
    [
        (tinygo.TinyGo(), "https://tinygo.org"),
        (swift.Swift(), "https://www.swift.org"),
        (dotnet.DotNet(), "https://dotnet.microsoft.com"),
        (grain.Grain(), "https://grain-lang.org"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_where_a_missing_tool_comes_from_is_told(toolchain, page):
    missing = toolchain.find()
    assert isinstance(missing, MissingTool)
    assert page in missing.install
    assert (missing.registry, missing.command) == ("", ())


@pytest.mark.parametrize(
    ("first_error", "lines", "message"),
    [
        (
            dotnet.first_error,
            ["  Determining projects", "Program.cs(3,5): error CS0103: The name 'x' does not exist [/p/app.csproj]"],
            "Program.cs:3:5: error: CS0103: The name 'x' does not exist",
        ),
        (
            grain.first_error,
            ['File "main.gr", line 3, characters 2-5:', "3 |   sun", "      ^^^", "Error: Unbound value sun."],
            "main.gr:3:2: error: Unbound value sun.",
        ),
    ],
)
def test_the_form_of_each_tools_errors_is_read(first_error, lines, message):
    assert first_error(lines) == message


def test_a_broken_source_is_told_with_its_place(project, played, bench):
    played("tinygo", {"version": "tinygo version 0.39.0"}, "echo '# x'; echo './main.go:4:2: undefined: x'; exit 1")
    made = project({"go.mod": "module x\n"})
    assert str(bench(tinygo.TinyGo()).refusal(made)) == "main.go:4:2: error: undefined: x"
    played(
        "swift",
        {"--version": "6", "sdk list": "a_wasm"},
        "echo \"main.swift:2:5: error: cannot find 'x' in scope\"; exit 1",
    )
    assert str(bench(swift.Swift()).refusal(made)) == "main.swift:2:5: error: cannot find 'x' in scope"
