"""`--target NAME`: the environment that is deployed to, what holds there, and what a package has no say in."""

from __future__ import annotations

import json

import pytest

from enarx_deploy import package_tree

PLACE_WITH_A_TABLE = """
import msgspec
from enarx_deploy.hookspecs import hookimpl

class Table(msgspec.Struct, forbid_unknown_fields=True):
    namespace: str = "default"

class Elsewhere:
    name = "elsewhere"
    own_table = Table
    def keeps(self):
        return []
    check = start = request_certificate = install_certificate = renew_certificate = logs = stop = keeps

@hookimpl
def register_targets():
    return [Elsewhere()]
"""


@pytest.fixture
def project(enarx_deploy, shelf):
    """The project of the shelf, with environments instead of `default`; returns a function that writes an overlay."""
    manifest = enarx_deploy.directory / "Enarx.toml"
    text = manifest.read_text().replace("deploy.default", "deploy.test")
    manifest.write_text(f'{text}[deploy.prod]\ntarget = "shelf"\nminimum = "shelf"\nname = "pine-shelf"\n')
    return lambda name, text: (enarx_deploy.directory / f"Enarx.{name}.toml").write_text(text)


def up(enarx_deploy, *words):
    ended = enarx_deploy("up", "--json", *words)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)["deployment"]


def test_each_environment_runs_the_same_package(enarx_deploy, project):
    project("prod", '[deploy.prod]\nname = "elm-shelf"\nreplicas = 2\n')
    test, prod = up(enarx_deploy, "--target", "test"), up(enarx_deploy, "--target", "prod")
    assert test["package"] == prod["package"]
    assert test["id"] != prod["id"]
    keeps = json.loads(enarx_deploy("keeps", "--json", "--target", "prod").stdout)
    assert [keep["name"] for keep in keeps] == ["oak-shelf", "elm-shelf"]


@pytest.mark.parametrize("command", ["attest", "deploy", "up", "lock"])
def test_a_backend_weaker_than_the_minimum_starts_nothing(enarx_deploy, project, shelf, command):
    ended = enarx_deploy(command, "--target", "prod", "--backend", "nil")
    assert ended.returncode == 2
    assert "backend 'nil' is weaker than 'shelf', the minimum of [deploy.prod] (as asked for)" in ended.stderr
    assert "start" not in (shelf / "calls").read_text()


def test_an_overlay_raises_the_minimum(enarx_deploy, project):
    project("test", '[deploy.test]\nminimum = "shelf"\nbackend = "nil"\n')
    ended = enarx_deploy("up", "--target", "test")
    assert "backend 'nil' is weaker than 'shelf', the minimum of [deploy.test]" in ended.stderr


def test_a_minimum_that_nothing_here_knows_is_not_taken_for_reached(enarx_deploy, project):
    project("prod", '[deploy.prod]\nminimum = "fortress"\n')
    ended = enarx_deploy("up", "--target", "prod")
    assert ended.returncode == 2
    assert "nothing here is known to be as strong as 'fortress', the minimum of [deploy.prod]" in ended.stderr


def test_check_looks_at_every_overlay(enarx_deploy, project):
    assert enarx_deploy("check").returncode == 0
    project("prod", "[deploy.prod]\nhots = 'x'\n")
    for words in ((), ("--target", "prod")):
        ended = enarx_deploy("check", *words)
        assert ended.returncode == 2
        assert "Enarx.prod.toml:2:1: unknown key `hots` in `deploy.prod`" in ended.stderr
    assert enarx_deploy("check", "--target", "test").returncode == 0


def test_check_of_an_environment_that_is_not_there(enarx_deploy, project):
    ended = enarx_deploy("check", "--target", "pord")
    assert ended.returncode == 2
    assert "'pord' is none of the manifest's environments: prod, test" in ended.stderr


def test_check_of_an_environment_where_one_is_the_default(enarx_deploy, shelf):
    ended = enarx_deploy("check", "--target", "pord")
    assert ended.returncode == 2
    assert "there is no environment 'pord'\n  hint: it would be [deploy.pord] in Enarx.toml, or" in ended.stderr


def test_a_targets_own_table_is_held_to_its_form(enarx_deploy, project, install_plugin):
    install_plugin("elsewhere", PLACE_WITH_A_TABLE)
    project("prod", '[deploy.prod.elsewhere]\nnamespace = "web"\n')
    assert enarx_deploy("check").returncode == 0
    project("prod", '[deploy.prod.elsewhere]\nnamspace = "web"\n')
    for command in ("check", "up"):
        ended = enarx_deploy(command, "--target", "prod")
        assert ended.returncode == 2
        assert "Enarx.prod.toml:2:1: unknown key `namspace` in `deploy.prod.elsewhere`" in ended.stderr
        assert "did you mean `namespace`?" in ended.stderr


def test_check_names_a_toolchain_and_an_issuer_that_nobody_brings(enarx_deploy, shelf):
    manifest = enarx_deploy.directory / "Enarx.toml"
    manifest.write_text('[build]\ntoolchain = "rsut"\n\n[attest]\nissuer = "stewart"\n')
    ended = enarx_deploy("check")
    assert ended.returncode == 2
    assert "Enarx.toml:2:13: toolchain 'rsut' is not known (did you mean 'rust'?)" in ended.stderr
    assert "Enarx.toml:5:10: issuer 'stewart' is not known (did you mean 'steward'?)" in ended.stderr


def test_a_table_that_no_target_has_is_an_error(enarx_deploy, project):
    project("prod", '[deploy.prod.kubernets]\nnamespace = "web"\n')
    ended = enarx_deploy("up", "--target", "prod")
    assert ended.returncode == 2
    assert "Enarx.prod.toml:1:14: no target 'kubernets' has a table of its own" in ended.stderr


def test_a_fetched_package_runs_where_the_environment_here_says(enarx_deploy, project):
    reference = enarx_deploy("publish", f"dir:{enarx_deploy.directory}/registry/it:1").stdout.strip()
    deployment = up(enarx_deploy, reference, "--target", "prod")
    assert (deployment["target"], deployment["backend"]) == ("shelf", "shelf")
    ended = enarx_deploy("up", reference, "--target", "prod", "--backend", "nil")
    assert "is weaker than 'shelf', the minimum of [deploy.prod]" in ended.stderr


def test_a_package_has_no_say_in_where_it_runs(enarx_deploy, shelf, tmp_path):
    """`package` leaves environments out; a package that was made by other means may have some."""
    assert enarx_deploy("compile").returncode == 0
    module = (enarx_deploy.directory / ".enarx" / "main.wasm").read_bytes()
    text = (enarx_deploy.directory / "Enarx.toml").read_bytes().replace(b'"shelf"\nname', b'"nil"\nname')
    package = package_tree.lay_out([("Enarx.toml", [text]), ("main.wasm", [module])], tmp_path / "made")
    reference = f"file://{tmp_path}/made@{package.digest}"
    assert up(enarx_deploy, reference, "--target", "shelf")["backend"] == "shelf"
    (keep,) = json.loads(enarx_deploy("keeps", "--json").stdout)
    assert keep["name"] != "oak-shelf"
