"""Manifests held against modules: what is granted too much or too little, and what `--write` makes of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import ManifestError
from enarx_deploy.lint import Finding, findings, needs, rewritten
from enarx_deploy.lint.findings import Change, Close, Connect, ConnectNowhere, Package
from enarx_deploy.project import load_project
from enarx_deploy.wasm import WASI_PREVIEW1

WORDS = {"i": "i32", "I": "i64"}
STREAMS = "".join(f'[[files]]\nkind = "{kind}"\n\n' for kind in ("stdin", "stdout", "stderr"))
LISTEN = '[[files]]\nkind = "listen"\nname = "web"\nprot = "tcp"\nport = 0\n'


def module(*functions: str, data: str = "", memory: int = 1) -> bytes:
    """A module that imports these functions, with that text in its data."""
    fields = ""
    for name in functions:
        parameters, _, results = WASI_PREVIEW1[name].partition(">")
        typed = " ".join(
            f"({part} {' '.join(map(WORDS.__getitem__, letters))})"
            for part, letters in (("param", parameters), ("result", results))
            if letters
        )
        fields += f'(import "wasi_snapshot_preview1" "{name}" (func {typed}))'
    fields += f'(memory (export "memory") {memory}) (data (i32.const 8) "{data}") (func (export "_start"))'
    return bytes(wasmtime.wat2wasm(f"(module {fields})"))


@pytest.fixture
def lint(tmp_path: Path) -> Callable[..., list[Finding]]:
    """The findings of a manifest's text and a module, in a project that has these files."""

    def look(manifest: str, data: bytes, *files: str) -> list[Finding]:
        (tmp_path / "Enarx.toml").write_text(manifest)
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("content")
        return findings(load_project(tmp_path), needs(data))

    return look


@pytest.mark.parametrize(
    ("manifest", "data", "rule", "line"),
    [
        (STREAMS + LISTEN, module("fd_read", "fd_write"), "unused-listen", 10),
        ('[[files]]\nkind = "connect"\nhost = "a.b"\nprot = "tls"\n', module("clock_time_get"), "unused-connection", 1),
        ('[network]\nconnect = ["a.b:1"]\n', module("clock_time_get"), "unused-network", 2),
        ('[[package.assets]]\nsource = "d"\nguest = "/d"\n', module("clock_time_get"), "unused-asset", 1),
        ('args = ["a"]\n', module("environ_get"), "unused-args", 1),
        ('\n[env]\nA = "1"\n', module("args_get"), "unused-env", 2),
    ],
)
def test_what_the_imports_cannot_use_is_a_warning_with_its_line(lint, manifest, data, rule, line) -> None:
    found = lint(manifest, data)
    assert [(one.rule, one.weight, one.certain, one.line) for one in found] == [(rule, "warning", True, line)]
    assert str(found[0]).split(":")[1] == str(line)
    assert found[0].hint


@pytest.mark.parametrize(
    ("function", "found"),
    [("fd_write", [("unused-input", 1)]), ("fd_read", [("unused-output", 4), ("unused-output", 7)])],
)
def test_a_standard_stream_without_use_is_a_note(lint, function, found) -> None:
    noted = lint(STREAMS, module(function))
    assert [(one.rule, one.line) for one in noted] == found
    assert {(one.weight, one.certain) for one in noted} == {("note", True)}


def test_a_constant_is_found_among_thousands_of_others(lint) -> None:
    text = "".join(f"/usr/lib/go/src/{number} " for number in range(5_000)) + "/data/t.csv"
    (found,) = lint("files = []\n", module("path_open", data=text), "data/t.csv")
    assert found.rule == "missing-asset"


@pytest.mark.parametrize(
    ("manifest", "data", "rule", "line"),
    [
        ("files = []\n", module("fd_write"), "missing-output", 1),
        (STREAMS, module("fd_read", "fd_write", "sock_accept"), "missing-listen", 1),
        ("files = []\n", module("path_open", data="/net/con/api.example:443"), "missing-destination", 0),
        ('[resources]\nmemory = "1 MiB"\n', module(memory=17), "missing-memory", 2),
    ],
)
def test_what_the_module_needs_and_nothing_grants_is_named(lint, manifest, data, rule, line) -> None:
    assert [(one.rule, one.line) for one in lint(manifest, data)] == [(rule, line)]


def test_a_manifest_that_fits_has_no_findings(lint) -> None:
    data = module("fd_read", "fd_write", "sock_accept", "path_open", data="/net/con/api.example:443 /data/t.csv")
    manifest = f'{STREAMS}{LISTEN}[network]\nconnect = ["tcp://api.example:443"]\n'
    assert lint(manifest + '[[package.assets]]\nsource = "data"\nguest = "/data"\n', data, "data/t.csv") == []


@pytest.mark.parametrize("text", ["/data/t.csv", "data /data/t.csvcannot open", "see /data/t.csv: no such file"])
def test_a_file_of_the_project_that_the_data_names_and_nothing_packages(lint, text) -> None:
    (found,) = lint("files = []\n", module("path_open", data=text), "data/t.csv", "data/t", "other.csv")
    assert (found.rule, found.change) == ("missing-asset", Package("data/t.csv", "/data/t.csv"))
    assert not found.certain


@pytest.mark.parametrize(
    "text",
    [
        "/data" + "/x" * 31,
        "/data" + ("/" + "x" * 250) * 20,
        "/etc/passwd",
        "/../secret",
        "/.git/config",
        "/dev/null",
        "/data",
    ],
)
def test_other_paths_in_the_data_say_nothing(lint, text) -> None:
    assert lint("files = []\n", module("path_open", data=text), ".git/config", "data/t.csv") == []


def test_what_cannot_be_told_is_a_note(lint) -> None:
    manifest = '[network]\nconnect = ["a.example:443"]\n[[package.assets]]\nsource = "d"\nguest = "/d/seldom"\n'
    found = lint(manifest, module("path_open", data="/net/con/%s"))
    assert {(one.rule, one.weight) for one in found} == {
        ("composed-destinations", "note"),
        ("unseen-asset", "note"),
        ("unseen-destination", "note"),
    }


def test_a_destination_that_args_or_env_name_is_seen(lint) -> None:
    manifest = 'args = ["a.example:443"]\n[network]\nconnect = ["a.example:443"]\n'
    assert lint(manifest, module("path_open", "args_get")) == []


def test_a_data_section_of_nothing_but_constants_is_looked_at_within_limits(lint) -> None:
    text = "".join(f"/net/con/host{number}.example:443 " for number in range(2_000))
    assert len(needs(module("path_open", data=text)).destinations) == 1_000


COMMENTED = """\
# What it sees.

[[files]] # the first
kind = "stdin"  # unused

# The service.
[[files]]
kind = "listen"
name = "web" # its name
prot = "tcp"
port = 0

[network]
connect = [
  "a.example:443", # for this
]

# The end.
"""


def test_writing_keeps_comments_and_order() -> None:
    text = rewritten(COMMENTED, [Close(1), Connect("b.example:443"), Package("d", "/d")])
    assert [line for line in text.splitlines() if "#" in line] == [
        line for line in COMMENTED.splitlines() if "#" in line
    ]
    table = tomllib.loads(text)
    assert table["files"] == [{"kind": "stdin"}, {"kind": "null", "name": "web"}]
    assert table["network"]["connect"] == ["a.example:443", "b.example:443"]
    assert table["package"]["assets"] == [{"source": "d", "guest": "/d"}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('args = ["a"]\n[network]\nconnect = ["a.b:1"]\n', 'args = ["a"]\n'),
        ('network = { connect = ["a.b:1"] }\n', ""),
        ('network.connect = ["a.b:1"]\n', ""),
        ('[network]\nconnect = ["a.b:1"]\nconnections = 2\n', "[network]\nconnections = 2\n"),
        ('[network]\nconnect = ["a.b:1"]\n# What it has.\n[env]\n', "[network]\n# What it has.\n[env]\n"),
    ],
)
def test_what_may_be_connected_to_is_taken_out_and_not_left_empty(before, after) -> None:
    assert rewritten(before, [ConnectNowhere()]) == after


CHANGES: list[Change] = [Connect("c.example:1"), Connect("[::1]:2"), ConnectNowhere(), Package("a", "/a")]


@given(
    st.lists(st.sampled_from(["stdin", "stdout", "stderr", "null"]), max_size=4),
    st.booleans(),
    st.lists(st.sampled_from(CHANGES), unique=True),
    st.data(),
)
def test_writing_changes_what_is_meant_and_nothing_else(kinds, network, changes, data) -> None:
    table = {"files": [{"kind": kind} for kind in kinds], "env": {"A": "# no comment"}}
    if network:
        table["network"] = {"connect": ["x.example:1"]}
    document = tomlkit.document()
    for key, value in table.items():
        document[key] = tomlkit.item(value)
    text = f"# head\n{tomlkit.dumps(document)}# tail\n"
    made: list[Change] = [one for one in changes if network or not isinstance(one, ConnectNowhere)]
    if kinds:
        made.append(Close(data.draw(st.integers(0, len(kinds) - 1))))
    after = tomllib.loads(rewritten(text, made))
    assert after["env"] == table["env"]
    assert len(after["files"]) == len(kinds)
    changed = [index for index, kind in enumerate(kinds) if after["files"][index] != {"kind": kind}]
    assert set(changed) <= {one.index for one in made if isinstance(one, Close)}


def test_what_would_not_be_a_good_manifest_is_not_written() -> None:
    with pytest.raises(ManifestError, match="a path inside the project"):
        rewritten(COMMENTED, [Package("../out", "/out")])


READS_A_TABLE = """\
#include <stdio.h>
int main(void) {
    char line[64];
    FILE *table = fopen("/data/table.csv", "r");
    if (!table || !fgets(line, sizeof line, table)) { puts("no table"); return 1; }
    fputs(line, stdout);
    return 0;
}
"""


@pytest.fixture
def reader(enarx_deploy, zig_cache, monkeypatch) -> Path:
    """A C project whose program reads a file that its manifest does not package."""
    enarx_deploy.environment["ZIG_GLOBAL_CACHE_DIR"] = str(zig_cache)
    root = enarx_deploy.directory
    (root / "data").mkdir()
    (root / "data" / "table.csv").write_text("one,two\n")
    (root / "main.c").write_text(READS_A_TABLE)
    (root / "Enarx.toml").write_text(f"# Mine.\n{STREAMS}{LISTEN}")
    return root


def test_what_lint_writes_makes_the_program_run_and_closes_what_it_does_not_use(enarx_deploy, reader) -> None:
    before = enarx_deploy("run", ".")
    assert (before.returncode, before.stdout) == (1, "no table\n")
    found = enarx_deploy("lint")
    assert found.returncode == 1
    assert f"warning: {reader / 'Enarx.toml'}:11: `files[3]` (listen 'web') is not used" in found.stdout
    assert "the module has /data/table.csv in its data, the project has data/table.csv" in found.stdout
    written = enarx_deploy("lint", "--write", "--json")
    assert written.returncode == 0, written.stdout
    assert {one["rule"] for one in json.loads(written.stdout)["written"]} == {"missing-asset", "unused-listen"}
    text = (reader / "Enarx.toml").read_text()
    assert text.startswith("# Mine.\n")
    assert [file["kind"] for file in tomllib.loads(text)["files"]] == ["stdin", "stdout", "stderr", "null"]
    after = enarx_deploy("run", ".")
    assert (after.returncode, after.stdout) == (0, "one,two\n")
    listening = ["kind=listen", "prot=tcp", "port=0"]
    behind = enarx_deploy("run", ".", *(word for key in listening for word in ("--set", f"files[3].{key}")))
    assert (behind.returncode, behind.stdout) == (0, "one,two\n"), "an asset is found behind a socket, too"


def test_check_and_package_warn_of_what_lint_finds(enarx_deploy, reader) -> None:
    assert "is not used" not in enarx_deploy("check").stderr  # there is no module yet
    packaged = enarx_deploy("package", "-q")
    assert packaged.returncode == 0
    assert "Enarx.toml:11: `files[3]` (listen 'web') is not used" in packaged.stderr
    assert "is not used" not in enarx_deploy("package").stderr  # what did not change was warned of
    checked = enarx_deploy("check", "--json")
    assert checked.returncode == 0
    assert len(json.loads(checked.stdout)["warnings"]) == 2


def test_memory_that_lint_says_is_missing_keeps_the_module_from_running(enarx_deploy) -> None:
    (enarx_deploy.directory / "main.wasm").write_bytes(module(memory=17))
    (enarx_deploy.directory / "Enarx.toml").write_text('files = []\n[resources]\nmemory = "1 MiB"\n')
    found = enarx_deploy("lint")
    assert found.returncode == 1
    assert "error: " in found.stdout
    assert enarx_deploy("run", ".").returncode == 124


def test_without_a_manifest_one_is_written(enarx_deploy) -> None:
    (enarx_deploy.directory / "main.wasm").write_bytes(module("fd_write"))
    assert enarx_deploy("lint", "--write").returncode == 0
    table = tomllib.loads((enarx_deploy.directory / "Enarx.toml").read_text())
    assert [file["kind"] for file in table["files"]] == ["null", "stdout", "stderr"]


def test_write_does_not_go_with_overrides(enarx_deploy) -> None:
    (enarx_deploy.directory / "main.wasm").write_bytes(module("fd_write"))
    ended = enarx_deploy("lint", "--write", "--set", 'args=["a"]')
    assert ended.returncode == 2
    assert "leave out --set" in ended.stderr


def test_what_the_manifest_warns_of_is_said_once_however_often_it_is_read(enarx_deploy) -> None:
    (enarx_deploy.directory / "main.wasm").write_bytes(module("fd_write", "path_open", data="/net/con/b.example:1"))
    manifest = f'{STREAMS}[network]\nconnect = ["tcp://a.example:1"]\n'
    (enarx_deploy.directory / "Enarx.toml").write_text(manifest)
    ended = enarx_deploy("lint", "--write")
    assert "written: " in ended.stdout
    assert ended.stderr.count("`network.connect[0]` is plain TCP") == 1


def test_a_module_can_be_named_and_nothing_is_built(enarx_deploy, tmp_path) -> None:
    (tmp_path / "other.wasm").write_bytes(module("fd_write", "fd_read"))
    (enarx_deploy.directory / "Enarx.toml").write_text(STREAMS)
    ended = enarx_deploy("lint", "--module", str(tmp_path / "other.wasm"))
    assert ended.returncode == 0
    assert "lacks nothing that can be derived" in ended.stdout
    assert not (enarx_deploy.directory / ".enarx").exists()


def test_the_template_grants_what_its_program_needs_and_nothing_more(enarx_deploy, zig_cache) -> None:
    enarx_deploy.environment["ZIG_GLOBAL_CACHE_DIR"] = str(zig_cache)
    assert enarx_deploy("new", "echo", "e").returncode == 0
    assert enarx_deploy("-C", "e", "lint").returncode == 0
