"""`enarx-deploy check` and `enarx-deploy schema`, as processes."""

from __future__ import annotations

import json

import jsonschema
import pytest

GOOD = """\
args = ["7", "two words"]

[[files]]
kind = "stdout"

[[files]]
kind = "listen"
name = "web"
prot = "tls"

[[files]]
kind = "connect"
host = "db.example"
prot = "tcp"
port = 5432

[env]
GREETING = "hi there"
"""
BAD = """\
[[files]]
kind = "listen"
name = "web"
prto = "tls"
"""


@pytest.fixture
def manifest(enarx_deploy):
    """Write Enarx.toml in the program's directory."""
    return (enarx_deploy.directory / "Enarx.toml").write_text


def test_a_good_manifest_is_shown_as_the_workload_sees_it(enarx_deploy, manifest):
    manifest(GOOD)
    ended = enarx_deploy("check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (
        ended.stdout
        == """\
Enarx.toml: good

FD  KIND     NAME        ADDRESS
0   stdout   stdout      -
1   listen   web         tls [::]:443
2   connect  db.example  tcp db.example:5432

args  main.wasm 7 "two words"
env   FD_COUNT=3
env   FD_NAMES=stdout:web:db.example
env   GREETING="hi there"
"""
    )


def test_a_good_manifest_in_json(enarx_deploy, manifest):
    manifest(GOOD)
    ended = enarx_deploy("check", "--json", "--set", "files.web.port=0", "--set", "env.FD_COUNT=9")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {
        "ok": True,
        "file": "Enarx.toml",
        "problems": [],
        "warnings": [
            "--set env.FD_COUNT: `env.FD_COUNT` is not seen by getenv: the Keep sets FD_COUNT itself, and first"
        ],
        "files": [
            {"fd": 0, "kind": "stdout", "name": "stdout"},
            {"fd": 1, "kind": "listen", "name": "web", "prot": "tls", "addr": "::", "port": 0},
            {"fd": 2, "kind": "connect", "name": "db.example", "prot": "tcp", "host": "db.example", "port": 5432},
        ],
        "connect": [],
        "args": ["main.wasm", "7", "two words"],
        "env": [
            {"name": "FD_COUNT", "value": "3"},
            {"name": "FD_NAMES", "value": "stdout:web:db.example"},
            {"name": "GREETING", "value": "hi there"},
            {"name": "FD_COUNT", "value": "9"},
        ],
    }


def test_every_fault_is_listed_and_the_status_is_2(enarx_deploy, manifest):
    manifest(BAD)
    ended = enarx_deploy("check", "--set", "files[0].port=70000")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr
        == """\
enarx-deploy: Enarx.toml:1:1: `files[0]` (kind "listen") lacks `prot`
  hint: add `prot = ...`: "tcp" or "tls"
enarx-deploy: Enarx.toml:4:1: unknown key `prto` in `files[0]` (kind "listen")
  hint: did you mean `prot`?
enarx-deploy: --set files[0].port: `files[0].port` must be an integer from 0 to 65535, not 70000
  hint: `enarx-deploy schema` prints what every key may be
"""
    )


def test_every_fault_in_json(enarx_deploy, manifest):
    manifest(BAD)
    ended = enarx_deploy("check", "--json")
    assert (ended.returncode, ended.stderr) == (2, "")
    answer = json.loads(ended.stdout)
    assert (answer["ok"], answer["file"], answer["files"]) == (False, "Enarx.toml", [])
    assert answer["problems"][1] == {
        "file": "Enarx.toml",
        "line": 4,
        "column": 1,
        "message": 'unknown key `prto` in `files[0]` (kind "listen")',
        "hint": "did you mean `prot`?",
    }


def test_a_file_without_files_is_warned_of(enarx_deploy, manifest):
    manifest("")
    ended = enarx_deploy("check")
    assert ended.returncode == 0
    assert ended.stderr == (
        "warning: Enarx.toml: no [[files]]: the workload gets no open files, not even stdin, stdout and stderr\n"
    )
    assert "no open files" in ended.stdout


def test_what_a_terminal_would_obey_is_escaped(enarx_deploy, manifest):
    manifest('files = []\nargs = ["\\u001b[2J"]\nenv.A = "\\u009b2J"')
    ended = enarx_deploy("check")
    assert 'args  main.wasm "\\u001b[2J"' in ended.stdout
    assert 'env   A="\\u009b2J"' in ended.stdout


def test_no_manifest_to_check(enarx_deploy):
    ended = enarx_deploy("check")
    assert ended.returncode == 2
    assert ended.stderr.startswith("enarx-deploy: Enarx.toml: cannot be read: No such file or directory\n  hint: ")


def test_another_file_in_another_directory(enarx_deploy):
    folder = enarx_deploy.directory / "project"
    folder.mkdir()
    (folder / "Enarx.toml").write_text(GOOD)
    (folder / "other.toml").write_text("files = []")
    assert enarx_deploy("-C", "project", "check").stdout.startswith("project/Enarx.toml: good\n")
    assert enarx_deploy("check", "--manifest", "project/other.toml").stdout.startswith("project/other.toml: good\n")


@pytest.mark.parametrize("words", [["schema"], ["schema", "--json"]])
def test_the_schema(enarx_deploy, words):
    ended = enarx_deploy(*words)
    assert (ended.returncode, ended.stderr) == (0, "")
    validator = jsonschema.Draft202012Validator(json.loads(ended.stdout))
    assert validator.is_valid({"files": [{"kind": "stdin"}]})
    assert not validator.is_valid({"file": [{"kind": "stdin"}]})
