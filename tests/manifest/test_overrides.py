"""`--set KEY=VALUE`."""

from __future__ import annotations

import msgspec
import pytest
import tomli

from enarx_deploy.manifest import Listen, Manifest, Null, load, parse

TEXT = """\
args = ["a", "b"]

[[files]]
kind = "stdin"

[[files]]
kind = "listen"
name = "web"
prot = "tls"

[[files]]
kind = "connect"
host = "db.example"
prot = "tcp"

[env]
A = "1"

[deploy.prod]
target = "ssh"
"""


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("files[1].port=0", ("files", 1, "port"), 0),
        ("files.web.port=8443", ("files", 1, "port"), 8443),
        ('files."db.example".port=1', ("files", 2, "port"), 1),
        ("files.'db.example'.name=db", ("files", 2, "name"), "db"),
        ("files[1].addr=::1", ("files", 1, "addr"), "::1"),
        ('files[0]={ kind = "null" }', ("files", 0, "kind"), "null"),
        ('args=["x"]', ("args",), ["x"]),
        ("args[1]=x y", ("args", 1), "x y"),
        ("args[1]=7", ("args", 1), "7"),
        ("env.A=x", ("env", "A"), "x"),
        ("env.A=", ("env", "A"), ""),
        ("env.A=80", ("env", "A"), "80"),
        ("env.A=true", ("env", "A"), "true"),
        ("env.A=a=b # c", ("env", "A"), "a=b # c"),
        ('env.A="x"', ("env", "A"), "x"),
        ('env.A="1\\n2"', ("env", "A"), "1\n2"),
        ("env.A=1\nB=2", ("env", "A"), "1\nB=2"),
        ('env.A=1\n[build]\ntoolchain="x"', ("env", "A"), '1\n[build]\ntoolchain="x"'),
        ('env.A="x"\n[build]\ntoolchain="y"', ("env", "A"), '"x"\n[build]\ntoolchain="y"'),
        ("env.B-2_c=x", ("env", "B-2_c"), "x"),
        ('env."a=b"=c', ("env", "a=b"), "c"),
        ("steward=https://steward.example", ("steward",), "https://steward.example"),
        ("attest.protocol=enarx", ("attest", "protocol"), "enarx"),
        ("resources.memory=65536", ("resources", "memory"), 65536),
        ("resources.memory=1 GiB", ("resources", "memory"), "1 GiB"),
        ("tls.web.handshake_timeout=3", ("tls", "web", "handshake_timeout"), 3),
        ("package.assets=[{source='a', guest='/a'}]", ("package", "assets", 0, "guest"), "/a"),
    ],
)
def test_a_value_is_put_in_its_place(argument, path, value):
    found = tomli.loads(parse(TEXT.encode(), "Enarx.toml", [argument]).text.decode())
    for step in path:
        found = found[step]
    assert found == value


def test_a_value_of_an_environment_is_put_in_its_place(read):
    deploy = read(TEXT, "deploy.prod.backend=nil", "deploy.test.replicas=3").deploy
    assert (deploy["prod"].target, deploy["prod"].backend, deploy["test"].replicas) == ("ssh", "nil", 3)


def test_nothing_else_is_changed():
    before = tomli.loads(TEXT)
    del before["deploy"]
    after = tomli.loads(parse(TEXT.encode(), "Enarx.toml", ["files.web.port=8443"]).text.decode())
    before["files"][1]["port"] = 8443
    assert after == before


def test_the_effective_manifest_is_what_is_packaged(tmp_path):
    path = tmp_path / "Enarx.toml"
    path.write_text(TEXT)
    loaded = load(path, ["env.A=2"])
    assert loaded.manifest.env == {"A": "2"}
    assert parse(loaded.text, "Enarx.toml").manifest == msgspec.structs.replace(loaded.manifest, deploy={})
    assert path.read_text() == TEXT


def test_a_manifest_is_packaged_as_it_stands_where_it_names_no_environment(tmp_path):
    path = tmp_path / "Enarx.toml"
    path.write_text(TEXT.partition("[deploy")[0])
    assert load(path).text == load(path, ["deploy.prod.replicas=2"]).text == path.read_bytes()


def test_later_arguments_see_what_earlier_ones_did(read):
    arguments = ['files=[{kind="null"}]', "files[0].name=x", 'files[0]={kind="listen",name="y",prot="tcp"}']
    assert read(TEXT, arguments[0]).files == (Null(),)
    assert read(TEXT, *arguments[:2]).files == (Null(name="x"),)
    assert read(TEXT, *arguments, "files.y.port=3").files == (Listen(name="y", prot="tcp", port=3),)


def test_without_a_file_too():
    assert load(None, ["env.A=1"]).manifest == Manifest(files=load(None).manifest.files, env={"A": "1"})


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("files[1].port=70000", "--set files[1].port: `files[1].port` must be an integer from 0 to 65535, not 70000"),
        ("files.web.port=http", '--set files.web.port: `files[1].port` must be an integer from 0 to 65535, not "http"'),
        ("files.web.prot=udp", '--set files.web.prot: `files[1].prot` must be "tcp" or "tls", not "udp"'),
        ("files[3].port=1", "--set files[3].port: `files` has 3 items, and each is reached as `files[N]`, from 0"),
        ("files.wbe.port=1", '--set files.wbe.port: `files` has no socket named "wbe" (did you mean "web"?)'),
        (
            "files.stdin.kind=null",
            '--set files.stdin.kind: `files` has no socket named "stdin" (sockets in `files`: "w',
        ),
        ("files[1].prt=tcp", '--set files[1].prt: unknown key `prt` in `files[1]` (kind "listen") (did you mean `pr'),
        ("buidl.source=x", "--set buidl.source: unknown key `buidl` (did you mean `build`?)"),
        ("args=x", '--set args: `args` must be an array of strings, not "x" (an array is written in brackets: ["x"])'),
        ("args.x=1", "--set args.x: `args` has 2 items, and each is reached as `args[N]`, from 0"),
        ("env[0]=x", "--set env[0]: `env` is a table, not an array"),
        ("args[0].x=1", '--set args[0].x: `args[0]` is "a", not a table'),
        (
            "tls.wbe.handshake_timeout=1",
            "--set tls.wbe.handshake_timeout: `tls.wbe` is no socket of `files` (did you m",
        ),
        ('files=[{kind="stdin"},{kind="x"}]', '--set files: `files[1].kind` must be "null", "stdin"'),
        ("env=1", "--set env: `env` must be a table, not 1"),
        ("env.A", "--set env.A: is not KEY=VALUE (write it as in --set files[3].port=8443"),
        ("=x", "--set : is not KEY=VALUE"),
        ("env..A=x", "--set env..A: is not KEY=VALUE"),
        ("env.A[x]=1", "--set env.A[x]: is not KEY=VALUE"),
        ("e nv=1", "--set e nv: is not KEY=VALUE"),
        ('env."\\q"=1', '--set env."\\q": is not UTF-8, or its KEY is not TOML'),
        ("env.A=\udcff", "--set env.A: is not UTF-8, or its KEY is not TOML"),
    ],
)
def test_a_fault_names_the_argument_it_comes_from(problems, argument, problem):
    (found,) = problems(TEXT, argument)
    assert found.startswith(problem)


def test_a_fault_of_the_file_keeps_its_place_there(problems):
    assert [problem.partition(": ")[0] for problem in problems(TEXT + 'backned = "nil"\n', "files[1].port=-1")] == [
        "Enarx.toml:21:1",
        "--set files[1].port",
    ]


def test_a_fault_comes_from_the_last_argument_that_changed_the_place(problems):
    arguments = ["files[0].name=a:b", 'files=[{kind="stdin",name="c:d"}]']
    (found,) = problems(TEXT, *arguments)
    assert found.startswith("--set files: `files[0].name` must be a name without ':'")
    (found,) = problems(TEXT, *reversed(arguments))
    assert found.startswith("--set files[0].name: ")


def test_the_value_is_not_in_the_name_of_the_argument(problems):
    (found,) = problems(TEXT, "env.TOKEN[0]=hunter2")
    assert "hunter2" not in found


def test_the_effective_manifest_has_the_same_limit(problems):
    (found,) = problems(TEXT, f"env.A={'x' * 1_000_000}")
    assert found.startswith("Enarx.toml: is longer than 1,000,000 bytes")
